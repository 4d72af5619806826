// A file for readers that want a path: one per process, written anew for every input.
#pragma once

#include <string>
#include <string_view>

namespace tandem::fuzz {

class TemporaryFile {
 public:
  // `name` has the extension that the reader looks at.
  explicit TemporaryFile(const std::string& name);
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile();

  void write(std::string_view bytes) const;
  const std::string& path() const { return path_; }

 private:
  std::string folder_, path_;
};

}  // namespace tandem::fuzz
