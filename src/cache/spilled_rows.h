// Rows of sequences moved to files while others need their pages, and back. Whatever happens to the files, the caller
// can only lose the time to compute rows anew: what cannot be written or read whole is as good as absent, and a line in
// the log says so.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "cache/paged_rows.h"

namespace tandem {

// Where the files of one pool's rows are. Files that a process which is no longer there has left behind are removed.
class SpillFolder {
 public:
  // JobError when the folder cannot be made.
  explicit SpillFolder(std::filesystem::path folder);

  int64_t bytes_written() const { return bytes_written_; }
  int64_t bytes_read() const { return bytes_read_; }

 private:
  friend class SpilledRows;

  std::filesystem::path next_file();

  std::filesystem::path folder_;
  std::string owner_;  // of the files' seals: of this object and no other
  int64_t files_ = 0;
  int64_t bytes_written_ = 0;
  int64_t bytes_read_ = 0;
  bool failing_ = false;  // the last attempt to write failed, and the log knows
};

// A sequence's rows in files, as far as they were written. Copies share files; the last one removes them.
class SpilledRows {
 public:
  explicit SpilledRows(std::shared_ptr<SpillFolder> folder) : folder_(std::move(folder)) {}  // null: nothing is spilled

  int64_t length() const { return parts_.empty() ? 0 : parts_.back().end; }
  // Writes the tokens of `rows` that are not in files yet. False when the disk refuses.
  bool write(const PagedRows& rows);
  // Appends to `rows`, which has room for them, the tokens behind its end that are in files, as far as they are whole.
  void read(PagedRows& rows);
  void trim(int64_t length);

 private:
  class File;  // removed with its last owner
  struct Part {
    std::shared_ptr<const File> file;
    int64_t begin, end;  // tokens, the file's first and the last that counts
  };

  std::shared_ptr<SpillFolder> folder_;
  std::vector<Part> parts_;  // one behind the other from token 0
};

}  // namespace tandem
