// Tensors on their way into a checkpoint that need not fit into memory:
// they wait in a file that is gone afterwards.
#pragma once

#include <filesystem>
#include <optional>
#include <span>

#include "base/mapped_file.h"
#include "checkpoint/file_io.h"

namespace trine {

class Staging {
 public:
  explicit Staging(std::filesystem::path file);  // must not exist; DataError
  ~Staging();
  Staging(Staging&&) = delete;

  void append(std::span<const std::byte> bytes);  // DataError, DiskFullError
  int64_t size() const { return size_; }
  // All of it. No append() after it; the file's name is gone.
  const std::byte* map();

 private:
  std::filesystem::path path_;
  std::optional<File> file_;
  std::optional<MappedFile> mapped_;
  int64_t size_ = 0;
};

}  // namespace trine
