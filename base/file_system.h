// What the file system says of a path, and what it can not say:
// an error of the system never reads as "nothing there".
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace trine {

// The system failed (EIO, EACCES, ENOSPC, too many open files ...), which says nothing about what is there. What is
// missing, or is of another kind than it should be, is a plain DataError.
struct IoError : DataError {
  using DataError::DataError;
};
struct DiskFullError : IoError {
  using IoError::IoError;
};

// Of errno: the error that a failed call on `path` means, with the system's reason. `where`: "[checkpoint]".
[[noreturn]] void throw_file_error(std::string_view where, const std::filesystem::path& path,
                                   std::string_view what);

enum class PathKind { kNothing, kFile, kFolder, kOther };
// What stands at the end of a path, behind links. Nothing only where the system says that there is nothing; IoError
// if it says anything else.
PathKind kind_of(const std::filesystem::path& path);
inline bool is_there(const std::filesystem::path& path) { return kind_of(path) != PathKind::kNothing; }
inline bool is_file(const std::filesystem::path& path) { return kind_of(path) == PathKind::kFile; }
inline bool is_folder(const std::filesystem::path& path) { return kind_of(path) == PathKind::kFolder; }

// Whether anything stands at a path itself, a link that leads nowhere included: what a rename would replace.
bool is_taken(const std::filesystem::path& path);

// The names in a folder, in their order, without "." and ".."; nullopt if there is no such folder. All of them, or
// an IoError; DataError for what is no folder.
std::optional<std::vector<std::string>> names_in(const std::filesystem::path& folder);

// Whether two paths lead to the same place, links and working folder considered; neither need exist. IoError.
bool same_place(const std::filesystem::path& a, const std::filesystem::path& b);

}  // namespace trine
