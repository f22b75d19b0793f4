// A file mapped read-only into memory, for what must be memory: a file of our own that waits to be written
// elsewhere, or that other ranks change. What people give us is read (base/input_file.h).
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include "base/bus_error.h"

namespace trine {

// Where the file system can not map, its contents are read into memory. Not movable.
class MappedFile {
 public:
  using OnLoss = BusErrorWatch::OnLoss;
  // The errors of InputFile. `on_loss`: of a page, meanwhile (base/bus_error.h).
  explicit MappedFile(const std::filesystem::path& path, OnLoss on_loss = OnLoss::kEnd);
  MappedFile(MappedFile&&) = delete;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }
  size_t size() const { return bytes_.size(); }

 private:
  std::span<const std::byte> bytes_;
  std::vector<std::byte> copy_;
  std::optional<BusErrorWatch> watch_;  // of a mapping
};

}  // namespace trine
