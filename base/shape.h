// The extents of a tensor, outermost dim first. Rank 0 is a scalar of one element.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <vector>

namespace trine {

class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> extents) { assign(extents.begin(), extents.size()); }
  explicit Shape(const std::vector<int64_t>& extents) { assign(extents.data(), extents.size()); }

  int num_dims() const { return static_cast<int>(num_dims_); }
  int64_t operator[](int dim) const { return begin()[checked(dim)]; }
  int64_t& operator[](int dim) { return (many_.empty() ? few_.data() : many_.data())[checked(dim)]; }
  int64_t num_elements() const {
    int64_t n = 1;
    for (int64_t extent : *this) n *= extent;
    return n;
  }
  int64_t num_rows() const { return num_dims() == 0 ? 1 : num_elements() / std::max<int64_t>(1, num_columns()); }
  int64_t num_columns() const { return num_dims() == 0 ? 1 : end()[-1]; }
  const int64_t* begin() const { return many_.empty() ? few_.data() : many_.data(); }
  const int64_t* end() const { return begin() + num_dims_; }
  bool operator==(const Shape& other) const { return std::equal(begin(), end(), other.begin(), other.end()); }

 private:
  static constexpr size_t kFew = 4;
  void assign(const int64_t* extents, size_t count) {
    num_dims_ = count;
    if (count <= kFew)
      std::copy_n(extents, count, few_.data());
    else
      many_.assign(extents, extents + count);
  }
  size_t checked(int dim) const {
    if (static_cast<size_t>(dim) >= num_dims_) throw std::out_of_range("a dim that a shape does not have");
    return static_cast<size_t>(dim);
  }

  std::array<int64_t, kFew> few_ = {};  // plans copy shapes by the million: without an allocation each
  std::vector<int64_t> many_;           // of more dims, as files may name
  size_t num_dims_ = 0;
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
