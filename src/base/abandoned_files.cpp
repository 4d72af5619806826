#include "base/abandoned_files.h"

#include <signal.h>

#include <cerrno>
#include <charconv>
#include <string_view>

namespace tandem {
namespace fs = std::filesystem;

bool process_is_gone(int32_t process) { return process > 0 && ::kill(process, 0) != 0 && errno == ESRCH; }

void remove_abandoned_files(const fs::path& folder, const std::function<int32_t(const std::string& name)>& process_of) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    if (process_is_gone(process_of(entry.path().filename().string()))) fs::remove_all(entry.path(), ignored);
  }
}

void remove_abandoned_parts(const fs::path& folder) {
  remove_abandoned_files(folder, [](const std::string& name) {
    constexpr std::string_view kMark = ".part-";  // and the process's id, to the end
    size_t mark = name.rfind(kMark);
    int32_t process = 0;
    if (mark == std::string::npos) return process;
    const char *begin = name.data() + mark + kMark.size(), *end = name.data() + name.size();
    return std::from_chars(begin, end, process).ptr == end ? process : 0;
  });
}

}  // namespace tandem
