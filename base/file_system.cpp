#include "base/file_system.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <dirent.h>
#include <memory>
#include <sys/stat.h>

namespace trine {
namespace fs = std::filesystem;
namespace {

// What these say is about the path; all other errors are about the system.
bool is_about_the_path(int code) {
  return code == ENOENT || code == ENOTDIR || code == EISDIR || code == ELOOP || code == ENXIO || code == ENODEV;
}

fs::path whole(const fs::path& path) {
  std::error_code error;
  fs::path found = fs::weakly_canonical(fs::absolute(path, error), error);
  if (!error) return found.has_filename() ? found : found.parent_path();  // without a slash at the end
  errno = error.value();
  throw_file_error("[file]", path, "finding it");
}

}  // namespace

void throw_file_error(std::string_view where, const fs::path& path, std::string_view what) {
  const int code = errno;
  const std::string text = fmt::format("{} {}: {} failed: {}.", where, path.string(), what, std::strerror(code));
  if (code == ENOSPC || code == EDQUOT || code == EFBIG)
    throw DiskFullError(text + " Free space there, raise the limit, or save to another disk with --save.");
  if (is_about_the_path(code)) throw DataError(text + " Check the path.");
  throw IoError(text + " Check the folder, its permissions and the disk.");
}

PathKind kind_of(const fs::path& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return PathKind::kNothing;
    throw_file_error("[file]", path, "looking at it");
  }
  if (S_ISREG(info.st_mode)) return PathKind::kFile;
  return S_ISDIR(info.st_mode) ? PathKind::kFolder : PathKind::kOther;
}

bool is_taken(const fs::path& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) == 0) return true;
  if (errno == ENOENT || errno == ENOTDIR) return false;
  throw_file_error("[file]", path, "looking at it");
}

std::optional<std::vector<std::string>> names_in(const fs::path& folder) {
  const auto close = [](DIR* opened) { ::closedir(opened); };
  const std::unique_ptr<DIR, decltype(close)> opened(::opendir(folder.c_str()), close);
  if (!opened) {
    if (errno == ENOENT) return std::nullopt;
    throw_file_error("[file]", folder, "listing");
  }
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(opened.get());
    if (entry == nullptr) break;
    if (const std::string name = entry->d_name; name != "." && name != "..") names.push_back(name);
  }
  if (errno != 0) throw_file_error("[file]", folder, "listing");
  std::sort(names.begin(), names.end());
  return names;
}

bool same_place(const fs::path& a, const fs::path& b) { return whole(a) == whole(b); }

}  // namespace trine
