// A folder or a file that appears whole or not at all.
#pragma once

#include <filesystem>

namespace tandem {

// Where a result is made, aside of where it will stand. Destroyed unfinished, it leaves nothing behind; what a process
// that was killed has left there the next one removes.
class Destination {
 public:
  // InputError when there is something at `path` already, unless it may be replaced: an empty folder; with `overwrite`
  // a file, or a folder that holds a model (a config.json), for a result of the same kind.
  Destination(std::filesystem::path path, bool folder, bool overwrite);
  Destination(const Destination&) = delete;
  Destination& operator=(const Destination&) = delete;
  ~Destination();

  // The folder to fill, or the file to write.
  const std::filesystem::path& aside() const { return aside_; }
  // Puts it into its place. JobError when the system refuses.
  void finish();

 private:
  std::filesystem::path path_;
  std::filesystem::path aside_;
  bool folder_;
};

}  // namespace tandem
