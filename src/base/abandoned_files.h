// What processes that were killed have left behind.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

namespace tandem {

// Removes the files of a folder whose names hold the id of a process that is no longer there; `process_of` finds it in
// a name, 0 where there is none.
void remove_abandoned_files(const std::filesystem::path& folder,
                            const std::function<int32_t(const std::string& name)>& process_of);

// The same for the files that FileWriter (base/file.h) had not finished.
void remove_abandoned_parts(const std::filesystem::path& folder);

}  // namespace tandem
