#include "checkpoint/box.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace trine {

namespace {

bool overlap(const Box& a, const Box& b) {
  for (size_t d = 0; d < a.num_dims(); ++d) {
    if (a.start[d] >= b.start[d] + b.count[d] || b.start[d] >= a.start[d] + a.count[d]) return false;
  }
  return true;
}

}  // namespace

std::string to_string(const Box& box) {
  std::string text;
  for (size_t d = 0; d < box.num_dims(); ++d) {
    text += fmt::format("{}{}:{}", d > 0 ? "," : "", box.start[d], box.start[d] + box.count[d]);
  }
  return "[" + text + "]";
}

bool fits(const Box& box, const Shape& shape) {
  if (box.start.size() != box.count.size() || static_cast<int>(box.count.size()) != shape.num_dims()) return false;
  for (int d = 0; d < shape.num_dims(); ++d) {
    const int64_t start = box.start[static_cast<size_t>(d)], count = box.count[static_cast<size_t>(d)];
    if (start < 0 || count < 1 || start > shape[d] || count > shape[d] - start) return false;
  }
  return true;
}

std::optional<Box> intersect(const Box& a, const Box& b) {
  Box both = a;
  for (size_t d = 0; d < a.num_dims(); ++d) {
    const int64_t begin = std::max(a.start[d], b.start[d]);
    const int64_t end = std::min(a.start[d] + a.count[d], b.start[d] + b.count[d]);
    if (begin >= end) return std::nullopt;
    both.start[d] = begin;
    both.count[d] = end - begin;
  }
  return both;
}

std::vector<Box> boxes_of_range(const Box& shard, int64_t begin, int64_t end) {
  TRINE_CHECK(0 <= begin && begin <= end && end <= shard.num_elements(), "range {}..{} of {}", begin, end,
              to_string(shard));
  if (begin == end) return {};
  const int64_t rows = shard.count.empty() ? 1 : shard.count[0];
  const int64_t row = shard.num_elements() / rows;  // elements of one index of dim 0
  const auto slab = [&](int64_t first, int64_t last) {
    Box box = shard;
    box.start[0] += first;
    box.count[0] = last - first;
    return box;
  };
  if (begin % row == 0 && end % row == 0) return {shard.count.empty() ? shard : slab(begin / row, end / row)};
  std::vector<Box> boxes;
  const auto add_part_of_row = [&](int64_t index, int64_t from, int64_t to) {
    Box inner{{shard.start.begin() + 1, shard.start.end()}, {shard.count.begin() + 1, shard.count.end()}};
    for (Box& box : boxes_of_range(inner, from, to)) {
      box.start.insert(box.start.begin(), shard.start[0] + index);
      box.count.insert(box.count.begin(), 1);
      boxes.push_back(std::move(box));
    }
  };
  const int64_t first_row = begin / row, last_row = end / row;
  if (first_row == last_row) {
    add_part_of_row(first_row, begin % row, end % row);
    return boxes;
  }
  const int64_t first_whole = div_up(begin, row);
  if (first_whole > first_row) add_part_of_row(first_row, begin % row, row);
  if (last_row > first_whole) boxes.push_back(slab(first_whole, last_row));
  if (end % row != 0) add_part_of_row(last_row, 0, end % row);
  return boxes;
}

std::optional<std::string> partition_problem(const std::vector<Box>& boxes, const Shape& shape) {
  std::vector<const Box*> sorted;
  int64_t covered = 0;
  for (const Box& box : boxes) {
    sorted.push_back(&box);
    if (__builtin_add_overflow(covered, box.num_elements(), &covered)) return "more elements than exist";
  }
  std::sort(sorted.begin(), sorted.end(), [](const Box* a, const Box* b) { return a->start < b->start; });
  for (size_t i = 0; i < sorted.size(); ++i) {
    const int64_t end = sorted[i]->start[0] + sorted[i]->count[0];
    for (size_t j = i + 1; j < sorted.size() && sorted[j]->start[0] < end; ++j) {
      if (!overlap(*sorted[i], *sorted[j])) continue;
      return fmt::format("the elements {} are there twice", to_string(*intersect(*sorted[i], *sorted[j])));
    }
  }
  if (covered != shape.num_elements()) {
    return fmt::format("{} of {} elements are there", covered, shape.num_elements());
  }
  return std::nullopt;
}

void copy_box(const BoxView& to, const ConstBoxView& from, const Box& part, size_t element_bytes) {
  // Runs of `part` in the narrower of both are contiguous in both.
  std::vector<std::pair<int64_t, int64_t>> source;
  for_each_run(part, from.box, [&](int64_t index, int64_t count) { source.emplace_back(index, count); });
  size_t at = 0;
  int64_t used = 0;
  for_each_run(part, to.box, [&](int64_t index, int64_t count) {
    while (count > 0) {
      const int64_t length = std::min(count, source[at].second - used);
      std::memcpy(to.data + static_cast<size_t>(index) * element_bytes,
                  from.data + static_cast<size_t>(source[at].first + used) * element_bytes,
                  static_cast<size_t>(length) * element_bytes);
      index += length, count -= length, used += length;
      if (used == source[at].second) ++at, used = 0;
    }
  });
}

}  // namespace trine
