// Files that a program goes on writing to, where it must be sure that they are its own: no link leads what it
// writes into another file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>

namespace trine {

// Opens `path` for writing, makes it if it is not there, and cuts it to `kept_bytes`. `flags`: O_WRONLY or O_RDWR,
// and O_APPEND. A file of several names (cp -al) is replaced by a copy first, so that the other names keep theirs.
// -1 for symbolic links, pipes, folders and failures of the system: `problem` says what.
int open_own_file(const std::filesystem::path& path, int flags, std::string& problem,
                  int64_t kept_bytes = std::numeric_limits<int64_t>::max());

bool is_regular(int fd);
// Whether `path` (a link itself, not what it points to) names the file that is open as `fd`.
bool stands_at(int fd, const std::filesystem::path& path);

}  // namespace trine
