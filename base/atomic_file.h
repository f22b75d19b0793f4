// A file that appears whole or not at all: written under a temporary name beside its final one, then renamed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

namespace trine {

// The temporary file is new and has a name that nobody else uses (NAME.tmp- and 16 hexadecimal digits), so nothing
// that stands there, link or file, is written to or lost. It is locked while it is written: what a killed process
// left behind is known by that nobody holds it, and removed by the next writer of that path.
//
// Every failure (no such folder, disk full, quota) is an IoError with the system's reason. Move-only; a file that
// was not committed is removed when it goes out of scope.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&& other) = delete;
  ~AtomicFile();

  void write(const void* data, size_t size_bytes);  // buffered
  void write(std::string_view text) { write(text.data(), text.size()); }
  int64_t size() const { return size_; }  // bytes written so far, buffered ones included
  // Hands the buffer to the system, so that temporary_path() can be read.
  void flush();
  void truncate(int64_t size_bytes);
  // Makes the contents durable; publish() then gives the file its final name. Two steps, so that a group of files
  // can meet a full disk before the first of them is visible. A link of that name is replaced, not followed.
  void sync();
  void publish();
  void commit() { sync(), publish(); }

  const std::filesystem::path& path() const { return path_; }
  const std::filesystem::path& temporary_path() const { return temporary_path_; }

 private:
  [[noreturn]] void fail(const char* what) const;

  std::filesystem::path path_, temporary_path_;
  std::vector<char> buffer_;
  int64_t size_ = 0;
  int fd_ = -1;
};

}  // namespace trine
