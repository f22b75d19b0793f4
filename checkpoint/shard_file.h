// rank-NNNN.h5: the pieces of tensors that one rank owns (checkpoint/format.md).
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/chunks.h"
#include "checkpoint/hdf5.h"
#include "checkpoint/manifest.h"
#include "checkpoint/slice.h"

namespace trine {

std::string shard_name(int writer);  // "rank-0003.h5"

// Writes and fsyncs the file of rank `writer`, which must not exist. No slices with elements: no file. DataError
// (DiskFullError) with the system's reason; the unfinished file is removed.
// REQUIRES: valid names, boxes inside their tensors.
Part write_shard(const std::filesystem::path& folder, int writer, std::span<const Slice> slices);

// Such a file, for reading. Everything about it that does not follow the format is a DataError, what the system
// does not read an IoError.
class ShardFile {
 public:
  explicit ShardFile(const std::filesystem::path& path);
  ShardFile(ShardFile&&) = delete;
  ~ShardFile();

  // Calls f(box of the tensor, its elements row-major) for each stored chunk that shares elements with `part`, a
  // box of the tensor inside the piece. The elements are those of `box` alone,
  // checked against the chunk's Fletcher32.
  template <typename F>
  void for_each_chunk(const TensorEntry& tensor, const Piece& piece, const Box& part, F f);

 private:
  struct Dataset {
    std::string name;
    H5Id id;
  };
  template <typename F>
  void explained(F f) const;
  void open_dataset(const TensorEntry& tensor, const Piece& piece, const ChunkGrid& grid);
  Dataset find_dataset(std::string name, const TensorEntry& tensor, const Piece& piece,
                       const ChunkGrid& grid) const;
  void check_dataset(hid_t id, const TensorEntry& tensor, const Piece& piece, const ChunkGrid& grid) const;
  const std::byte* read_chunk(const Chunk& chunk, int64_t chunk_bytes);
  [[noreturn]] void fail(const std::string& dataset, const std::string& what) const;

  File file_;
  H5File hdf5_;
  Dataset dataset_;              // the last one opened
  std::vector<hsize_t> cached_;  // where the chunk in buffer_ begins
  std::vector<std::byte> buffer_;
};

template <typename F>
void ShardFile::for_each_chunk(const TensorEntry& tensor, const Piece& piece, const Box& part, F f) {
  const size_t element_bytes = size_bytes(tensor.dtype);
  const ChunkGrid grid(piece.box.count, element_bytes);
  open_dataset(tensor, piece, grid);
  Box local = part;
  for (size_t d = 0; d < local.num_dims(); ++d) local.start[d] -= piece.box.start[d];
  grid.for_each(local, [&](const Chunk& chunk) {
    const std::byte* data = read_chunk(chunk, grid.num_elements() * static_cast<int64_t>(element_bytes));
    Box box = chunk.box;
    for (size_t d = 0; d < box.num_dims(); ++d) box.start[d] += piece.box.start[d];
    f(box, data);
  });
}

// model.h5 in `folder`: every tensor of the manifest as one virtual dataset over the rank
// files. Written and fsynced.
FileEntry write_view(const std::filesystem::path& folder, const Manifest& manifest);

}  // namespace trine
