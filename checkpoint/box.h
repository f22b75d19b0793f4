// Rectangular parts of logical tensors: what a rank owns, what a file holds, what a reader asks for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/shape.h"

namespace trine {

inline constexpr int kMaxDims = 8;

// Elements start[d] .. start[d] + count[d] - 1 of each dim d, in row-major order.
struct Box {
  std::vector<int64_t> start, count;

  static Box whole(const Shape& shape) {
    return {std::vector<int64_t>(static_cast<size_t>(shape.num_dims())), {shape.begin(), shape.end()}};
  }
  size_t num_dims() const { return count.size(); }
  int64_t num_elements() const { return Shape(count).num_elements(); }
  bool operator==(const Box&) const = default;
};

std::string to_string(const Box& box);  // "[0:128,64:128]"

// True if `box` has the dims of `shape`, lies inside it and is not empty. Safe for any numbers.
bool fits(const Box& box, const Shape& shape);
std::optional<Box> intersect(const Box& a, const Box& b);

// Elements [begin, end) of `shard`, flattened, as boxes of the tensor that `shard` lies in; side by side they are
// the range. At most 2 * dims - 1: for a matrix the rest of a row, whole rows, the beginning of a row. No elements:
// none. REQUIRES: 0 <= begin <= end <= shard.num_elements().
std::vector<Box> boxes_of_range(const Box& shard, int64_t begin, int64_t end);

// What is wrong with `boxes` as a partition of `shape`, or nothing if every element is in exactly one.
// REQUIRES: fits(box, shape) for all.
std::optional<std::string> partition_problem(const std::vector<Box>& boxes, const Shape& shape);

// A box of elements stored row-major in memory that begins at element `start` of the tensor.
struct BoxView {
  std::byte* data;
  const Box& box;
};
struct ConstBoxView {
  const std::byte* data;
  const Box& box;
};
// Copies the elements of `part`. REQUIRES: part lies in both.
void copy_box(const BoxView& to, const ConstBoxView& from, const Box& part, size_t element_bytes);

// Calls f(flat index in `outer` of the first element, number of elements) for every run of `part` that is
// contiguous in the row-major box `outer`, in row-major order of `part`. REQUIRES: part lies in outer.
template <typename F>
void for_each_run(const Box& part, const Box& outer, F f) {
  const size_t dims = part.num_dims();
  size_t first = dims;  // dims from here on are contiguous
  int64_t run = 1;
  while (first > 0) {
    --first;
    run *= part.count[first];
    if (part.count[first] != outer.count[first]) break;
  }
  std::vector<int64_t> at(first, 0);
  while (true) {
    int64_t index = 0;
    for (size_t d = 0; d < dims; ++d) {
      index = index * outer.count[d] + part.start[d] - outer.start[d] + (d < first ? at[d] : 0);
    }
    f(index, run);
    size_t d = first;
    while (d > 0 && ++at[d - 1] == part.count[d - 1]) at[--d] = 0;
    if (d == 0) return;
  }
}

}  // namespace trine
