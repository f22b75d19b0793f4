// How a stored box is cut into chunks (checkpoint/format.md): a chunk is a contiguous run of the row-major box.
#pragma once

#include <cstdint>
#include <vector>

#include "checkpoint/box.h"

namespace trine {

inline constexpr int64_t kChunkBytes = int64_t{1} << 20;

struct Chunk {
  Box box;            // in coordinates of the stored box, not padded
  int64_t begin = 0;  // its first element in the stored box
};

class ChunkGrid {
 public:
  ChunkGrid(std::vector<int64_t> count, size_t element_bytes);

  const std::vector<int64_t>& shape() const { return shape_; }
  int64_t num_elements() const { return Shape(shape_).num_elements(); }  // of a whole chunk, padding included

  // Calls f(const Chunk&) for the chunks that share elements with `part` (in coordinates of the
  // stored box), in order.
  template <typename F>
  void for_each(const Box& part, F f) const {
    std::vector<int64_t> first(count_.size()), last(count_.size());  // index of chunks, per dim
    for (size_t d = 0; d < count_.size(); ++d) {
      first[d] = part.start[d] / shape_[d];
      last[d] = (part.start[d] + part.count[d] - 1) / shape_[d];
    }
    for (std::vector<int64_t> at = first;;) {
      f(chunk(at));
      size_t d = at.size();
      while (d > 0 && at[d - 1] == last[d - 1]) --d, at[d] = first[d];
      if (d == 0) return;
      ++at[d - 1];
    }
  }

 private:
  Chunk chunk(const std::vector<int64_t>& at) const;

  std::vector<int64_t> count_, shape_;
};

}  // namespace trine
