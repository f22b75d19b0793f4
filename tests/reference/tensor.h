// Tensors of the reference implementation: row-major f64, whatever the element type (integers are exact in f64).
#pragma once

#include <vector>

#include "base/mesh.h"
#include "base/shape.h"
#include "graph/tensor_type.h"

namespace trine::reference {

struct Tensor {
  Shape shape;
  std::vector<double> data;

  Tensor() = default;
  explicit Tensor(Shape extents) : shape(std::move(extents)), data(static_cast<size_t>(shape.num_elements())) {}
  Tensor(Shape extents, std::vector<double> values);

  int64_t rows() const { return shape.num_rows(); }
  int64_t columns() const { return shape.num_columns(); }
  int64_t size() const { return static_cast<int64_t>(data.size()); }
  // Element [i] of a vector or of the flat data; [row, column] of a matrix, leading dims flattened.
  double& operator()(int64_t i) { return data.at(static_cast<size_t>(i)); }
  double operator()(int64_t i) const { return data.at(static_cast<size_t>(i)); }
  double& operator()(int64_t row, int64_t column) { return data[static_cast<size_t>(row * columns() + column)]; }
  double operator()(int64_t row, int64_t column) const {
    return data[static_cast<size_t>(row * columns() + column)];
  }
  double* row(int64_t r) { return data.data() + r * columns(); }  // for the innermost loops
  const double* row(int64_t r) const { return data.data() + r * columns(); }
};

// Standard normal numbers, a function of (seed, index) only.
Tensor random_normal(Shape shape, uint64_t seed, double stddev = 1, double mean = 0);
// Integers in [low, high).
Tensor random_integers(Shape shape, uint64_t seed, int64_t low, int64_t high);

Tensor operator+(Tensor a, const Tensor& b);
Tensor operator*(double factor, Tensor a);
double dot(const Tensor& a, const Tensor& b);
double norm(const Tensor& a);
// ||a - b|| / ||b||, or ||a|| where b is zero.
double relative_error(const Tensor& a, const Tensor& b);

// Elements [begin, begin + size) along `dim`, and their union in order.
Tensor slice(const Tensor& x, int dim, int64_t begin, int64_t size);
Tensor concatenate(const std::vector<Tensor>& parts, int dim);

// One rank's part of a logical tensor, by placement on each axis: of a partial one the first rank holds all, the
// others zeros. A batch split takes an equal part. Logical here includes dp:
// a batch-split tensor has dp times its type's rows.
Tensor shard(const Tensor& logical, const TensorType& type, const Mesh& mesh, Coordinate coordinate);
// The inverse: `locals` by rank. CHECKs that invariant and replicated copies are equal.
Tensor unshard(const std::vector<Tensor>& locals, const TensorType& type, const Mesh& mesh);

}  // namespace trine::reference
