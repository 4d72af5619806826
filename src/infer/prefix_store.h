// Prefixes in a folder, for engines that come later: a file for each, written whole or not at all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "arch/state_format.h"
#include "infer/prefix_tree.h"

namespace tandem {

class PrefixStore {
 public:
  struct Entry {
    int64_t number = 0;  // the larger, the later it was used
    std::vector<int32_t> ids;
    int64_t bytes = 0;  // of its file
    std::filesystem::path file;
  };

  // Looks at what the folder holds, which is made if it is not there. Files of another model make the whole folder one
  // that is left alone: nothing is found in it and nothing saved, and a line in the log says so. JobError when the
  // folder cannot be made.
  PrefixStore(const Model& model, std::filesystem::path folder, int64_t most_bytes);

  // The prefix that has the most tokens in common with the beginning of `ids`, where it pays to load it for them; null:
  // none. `known` of them are known otherwise. Valid until the next call of another function.
  const Entry* find(std::span<const int32_t> ids, int64_t known) const;
  // Its state. While the caches have too few pages `make_room` is called; null when it returns false, and for a file
  // that cannot be read, which is forgotten.
  std::unique_ptr<State> load(const Entry& entry, Caches& caches, const std::function<bool()>& make_room);
  // Saves the states of a tree that the folder does not know, the latest used first, as far as the limit allows, and
  // then removes those not used for the longest time. When the disk refuses, a line in the log says so.
  void save(const PrefixTree& tree);

  int64_t prefixes() const { return static_cast<int64_t>(entries_.size()); }
  int64_t bytes() const;

 private:
  void look_around();
  void forget(size_t entry);
  int64_t write(std::span<const int32_t> ids, State& state, int64_t number);  // bytes
  // Shorter prefixes that the state serves as well.
  void forget_covered(std::span<const int32_t> ids, const State& state);
  void keep_to_limit();
  std::filesystem::path file_of(std::span<const int32_t> ids, int64_t number) const;

  StateFormat format_;
  std::filesystem::path folder_;
  int64_t most_bytes_;
  bool ours_ = true;
  int64_t next_number_ = 1;
  std::vector<Entry> entries_;
};

}  // namespace tandem
