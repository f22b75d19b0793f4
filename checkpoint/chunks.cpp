#include "checkpoint/chunks.h"

#include <algorithm>

namespace trine {

ChunkGrid::ChunkGrid(std::vector<int64_t> count, size_t element_bytes)
    : count_(std::move(count)), shape_(count_.size(), 1) {
  int64_t fitting = kChunkBytes / static_cast<int64_t>(element_bytes);  // elements that a chunk may still grow by
  for (size_t d = count_.size(); d-- > 0;) {
    const int64_t n = count_[d];
    shape_[d] = n <= fitting ? n : div_up(n, div_up(n, fitting));
    if (n > fitting) return;
    fitting /= n;
  }
}

Chunk ChunkGrid::chunk(const std::vector<int64_t>& at) const {
  Chunk chunk;
  chunk.box = {count_, count_};
  for (size_t d = 0; d < at.size(); ++d) {
    chunk.box.start[d] = at[d] * shape_[d];
    chunk.box.count[d] = std::min(shape_[d], count_[d] - chunk.box.start[d]);
    chunk.begin = chunk.begin * count_[d] + chunk.box.start[d];
  }
  return chunk;
}

}  // namespace trine
