// A file that is read: the one place that opens what people and other programs wrote.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/file_system.h"

namespace trine {

// A regular file, links followed. Reads are system calls: a file that is cut, or a disk that fails, is an error and
// not a signal, as it would be with a mapping. Move-only; any thread may read.
class InputFile {
 public:
  // Never blocks. DataError for what is missing, and for a folder, a pipe, a socket or a device; IoError with the
  // system's reason for what cannot be opened.
  explicit InputFile(const std::filesystem::path& path);
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&& other) noexcept;
  ~InputFile();

  const std::filesystem::path& path() const { return path_; }
  int64_t size() const { return size_; }  // bytes, when it was opened
  int descriptor() const { return fd_; }
  // All of `to`. IoError for the disk; DataError if the file ends before: it was cut while it was open.
  void read(int64_t at, std::span<std::byte> to) const;
  // Calls f(bytes) for blocks that together are bytes [begin, end).
  template <typename F>
  void read_blocks(int64_t begin, int64_t end, F f) const {
    std::vector<std::byte> block;
    for (; begin < end; begin += std::ssize(block)) {
      block.resize(static_cast<size_t>(std::min(int64_t{1} << 20, end - begin)));
      read(begin, block);
      f(std::span<const std::byte>(block));
    }
  }

 private:
  std::filesystem::path path_;
  int64_t size_ = 0;
  int fd_ = -1;
};

// `count` packed numbers of a file from byte `begin` on, asked for in rising order.
template <typename T>
class NumbersInFile {
 public:
  NumbersInFile(const InputFile& file, int64_t begin, int64_t count) : file_(file), begin_(begin), count_(count) {}
  // REQUIRES: 0 <= i < count.
  T operator[](int64_t i) {
    if (i < first_ || i >= end_) read_block(i);
    return block_[static_cast<size_t>(i - first_)];
  }

 private:
  void read_block(int64_t first) {
    first_ = first, end_ = std::min(count_, first + (int64_t{64} << 10));
    block_.resize(static_cast<size_t>(end_ - first_));
    file_.read(begin_ + first * static_cast<int64_t>(sizeof(T)), std::as_writable_bytes(std::span(block_)));
  }

  const InputFile& file_;
  const int64_t begin_, count_;
  int64_t first_ = 0, end_ = 0;
  std::vector<T> block_;
};

// The whole of a file that fits in memory easily. DataError if it is larger than `max_bytes`.
std::string read_text_file(const std::filesystem::path& path, int64_t max_bytes = int64_t{1} << 30);
// The first `bytes` of a file, or all of a shorter one. Empty for what is no regular file, and where there is none.
std::string beginning_of(const std::filesystem::path& path, int64_t bytes);

}  // namespace trine
