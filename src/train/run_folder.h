// The folder of a run: config.toml, origin.json, tokenizer.json, data/, log.jsonl, tensorboard/, checkpoints/, model/,
// products.json, finished.json.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "base/json_fwd.h"
#include "train/run_config.h"

namespace tandem {

// InputError when config.output can't become, or go on as, the folder of this run: another run's (naming the first key
// that differs), a file, or something else. Changes nothing.
void check_run_folder(const RunConfig& config);

class RunFolder {
 public:
  // Creates the folder with its config.toml, or opens that of an earlier start of the same run, whose config.toml then
  // takes the new length and other free settings. One process at a time: a second one gets a JobError. Otherwise errors
  // as of check_run_folder.
  // `writes`: of several processes that share a run, one holds and changes the folder; to the others it is a place.
  explicit RunFolder(const RunConfig& config, bool writes = true);
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;
  ~RunFolder();

  // Takes back what this start has made in a folder that was new or empty: for runs that cannot begin.
  void abandon();

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path log() const { return path_ / "log.jsonl"; }
  std::filesystem::path events() const { return path_ / "tensorboard"; }
  std::filesystem::path checkpoints() const { return path_ / "checkpoints"; }
  std::filesystem::path model() const { return path_ / "model"; }
  std::filesystem::path products() const { return path_ / "products.json"; }  // train/product_choices.h

  // What the run wrote when it ended last.
  std::optional<Json> finished() const;
  void set_finished(const OrderedJson& result) const;

  // origin.json: what a run with `init` began with.
  void set_origin(const OrderedJson& origin) const;

 private:
  void lock();

  std::filesystem::path path_;
  bool fresh_ = false;  // made by this start
  int lock_ = -1;
};

}  // namespace tandem
