// Files and folders as the commit protocol needs them: explicit writes, fsync, rename. Every failure is a DataError
// with the path, what failed and the system's reason: an IoError, of which a full disk is a kind, or a plain one if
// the path is not what it should be.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/file_system.h"

namespace trine {

// A descriptor. Move-only; closed when it goes out of scope.
class File {
 public:
  static File create(const std::filesystem::path& path);  // that must not exist
  // For reading: a regular file, and unless `behind_links`, no link.
  static File open(const std::filesystem::path& path, bool behind_links = false);
  static File open_folder(const std::filesystem::path& path);  // only for sync()
  File(File&& other) noexcept;
  File& operator=(File&&) = delete;
  ~File();

  const std::filesystem::path& path() const { return path_; }
  int64_t size() const;
  void read(int64_t at, std::span<std::byte> to) const;  // all of it; past the end is an error
  void write(int64_t at, std::span<const std::byte> from);
  void truncate(int64_t size_bytes);
  void sync();
  // Asks the system to begin writing these bytes to the disk. A hint.
  void start_writeback(int64_t at, int64_t size_bytes);
  // Reading from begin to end is about to start: the system may read further ahead. A hint.
  void will_read_all() const;

 private:
  File(std::filesystem::path path, int fd) : path_(std::move(path)), fd_(fd) {}

  std::filesystem::path path_;
  int fd_;
};

// A regular file, and unless `behind_links`, no link.
std::string read_small_file(const std::filesystem::path& path, int64_t max_bytes, bool behind_links = false);
void make_folder(const std::filesystem::path& path);  // and those above; may exist
void sync_folder(const std::filesystem::path& path);  // its list of names
void rename_path(const std::filesystem::path& from, const std::filesystem::path& to);
void remove_file(const std::filesystem::path& path);  // which may be gone already
// The folder and all below it; `first`, if it exists, before anything else. Of a link to a folder only the link.
void remove_folder(const std::filesystem::path& path, const char* first = "");
// A small file that appears whole or not at all, durable except for its name (sync_folder).
void write_whole_file(const std::filesystem::path& path, std::string_view text);

int64_t free_bytes(const std::filesystem::path& folder);  // for this user
// DiskFullError naming both numbers if fewer are free.
void require_free_bytes(const std::filesystem::path& folder, int64_t need_bytes);

}  // namespace trine
