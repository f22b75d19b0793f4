// The extents of a tensor, outermost dim first. Rank 0 is a scalar of one element.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

namespace trine {

class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> extents) : extents_(extents) {}
  explicit Shape(std::vector<int64_t> extents) : extents_(std::move(extents)) {}

  int num_dims() const { return static_cast<int>(extents_.size()); }
  int64_t operator[](int dim) const { return extents_.at(static_cast<size_t>(dim)); }
  int64_t& operator[](int dim) { return extents_.at(static_cast<size_t>(dim)); }
  int64_t num_elements() const {
    int64_t n = 1;
    for (int64_t extent : extents_) n *= extent;
    return n;
  }
  int64_t num_rows() const { return num_dims() == 0 ? 1 : num_elements() / std::max<int64_t>(1, extents_.back()); }
  int64_t num_columns() const { return num_dims() == 0 ? 1 : extents_.back(); }
  auto begin() const { return extents_.begin(); }
  auto end() const { return extents_.end(); }
  bool operator==(const Shape&) const = default;

 private:
  std::vector<int64_t> extents_;
};

std::string to_string(const Shape& shape);  // "[1024,768]"

// The one way to split n elements over k ranks: ceil(n/k) each, the last ones shorter, none empty.
// REQUIRES: 0 <= index < k, and k <= n such that no part is empty (split_is_valid).
int64_t split_size(int64_t n, int64_t k, int64_t index);
int64_t split_begin(int64_t n, int64_t k, int64_t index);
// True if every part of n over k holds at least one element.
bool split_is_valid(int64_t n, int64_t k);

// n / k where k must divide n; `what` names the pair in the error ("hidden / heads").
int64_t div_exact(int64_t n, int64_t k, const char* what);
inline int64_t div_up(int64_t n, int64_t k) { return (n + k - 1) / k; }
inline int64_t round_up(int64_t n, int64_t multiple) { return div_up(n, multiple) * multiple; }

}  // namespace trine
