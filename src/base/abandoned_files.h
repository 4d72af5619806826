// What processes that were killed have left behind.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

namespace tandem {

// Whether there is no process with this id, which is positive.
bool process_is_gone(int32_t process);

// Removes what is in a folder, folders too, under names that hold the id of a process that is no longer there;
// `process_of` finds it in a name, 0 where there is none.
void remove_abandoned_files(const std::filesystem::path& folder,
                            const std::function<int32_t(const std::string& name)>& process_of);

// The same for the files that FileWriter (base/file.h) had not finished.
void remove_abandoned_parts(const std::filesystem::path& folder);

}  // namespace tandem
