// A file mapped read-only into memory. Move-only; unmapped when it goes out of scope.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

namespace trine {

class MappedFile {
 public:
  MappedFile() = default;
  explicit MappedFile(const std::filesystem::path& path);  // DataError if it cannot be opened or mapped
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  const std::filesystem::path& path() const { return path_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  size_t size() const { return size_; }

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// The whole of a small text file. DataError if it cannot be read.
std::string read_text_file(const std::filesystem::path& path);

}  // namespace trine
