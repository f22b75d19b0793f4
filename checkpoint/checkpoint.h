// A committed checkpoint, for reading: any part of any tensor, whatever layout wrote it.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "checkpoint/manifest.h"

namespace trine {

class ShardFile;

// One thread at a time. Every error is a DataError that names the file.
class Checkpoint {
 public:
  // Reads and checks the manifest, and that the files are there in their sizes.
  explicit Checkpoint(std::filesystem::path folder);
  Checkpoint(Checkpoint&&) noexcept;
  ~Checkpoint();

  const std::filesystem::path& folder() const { return folder_; }
  const Manifest& manifest() const { return manifest_; }
  int64_t size_bytes() const;  // of all files

  // Compares the hash of each file i with i % num_parts == part, so that ranks can share the work; then every rank
  // says trust_files(). A file that is neither checked nor trusted is checked when first read from.
  void check_files(int part = 0, int num_parts = 1);
  void trust_files();

  const TensorEntry& tensor(TensorKind kind, std::string_view name) const;
  // The elements of `boxes`, one box after another, each row-major, in the type of the tensor; reads no other
  // chunks than those the boxes touch. REQUIRES: boxes inside the tensor, out of their size.
  void read(const TensorEntry& tensor, std::span<const Box> boxes, std::span<std::byte> out);
  template <typename T>
  void read(const TensorEntry& tensor, std::span<const Box> boxes, std::span<T> out) {
    TRINE_CHECK(kDTypeOf<T> == tensor.dtype, "{} is {}", tensor.name, name(tensor.dtype));
    read(tensor, boxes, std::as_writable_bytes(out));
  }
  int64_t bytes_read() const { return bytes_read_; }  // so far, by read()

  // Everything there is to check: files, every chunk, every tensor's hash. One line per problem; none: all is good.
  std::vector<std::string> verify();

 private:
  void check_file(size_t index);
  ShardFile& shard(int64_t index);
  uint64_t hash_of(const TensorEntry& tensor);

  std::filesystem::path folder_;
  Manifest manifest_;
  std::vector<bool> checked_;                           // files whose hash was compared
  std::map<int64_t, std::unique_ptr<ShardFile>> open_;  // by index in manifest_.files
  int64_t bytes_read_ = 0;
};

}  // namespace trine
