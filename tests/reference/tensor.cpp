#include "tests/reference/tensor.h"

#include <cmath>
#include <functional>

#include "base/error.h"
#include "base/rng.h"

namespace trine::reference {

Tensor::Tensor(Shape extents, std::vector<double> values) : shape(std::move(extents)), data(std::move(values)) {
  TRINE_CHECK(shape.num_elements() == size(), "{} values for {}", size(), to_string(shape));
}

Tensor random_normal(Shape shape, uint64_t seed, double stddev, double mean) {
  Tensor x(std::move(shape));
  std::vector<float> values(x.data.size());
  fill_normal(values.data(), 0, x.size(), seed, stream_of("reference"), 1);
  for (int64_t i = 0; i < x.size(); ++i) x(i) = mean + stddev * values[static_cast<size_t>(i)];
  return x;
}

Tensor random_integers(Shape shape, uint64_t seed, int64_t low, int64_t high) {
  Tensor x(std::move(shape));
  const uint64_t range = static_cast<uint64_t>(high - low);
  for (int64_t i = 0; i < x.size(); ++i)
    x(i) = static_cast<double>(low + static_cast<int64_t>(random_u64(seed, 1, static_cast<uint64_t>(i)) % range));
  return x;
}

Tensor operator+(Tensor a, const Tensor& b) {
  TRINE_CHECK(a.shape == b.shape, "{} + {}", to_string(a.shape), to_string(b.shape));
  for (int64_t i = 0; i < a.size(); ++i) a(i) += b(i);
  return a;
}

Tensor operator*(double factor, Tensor a) {
  for (double& value : a.data) value *= factor;
  return a;
}

double dot(const Tensor& a, const Tensor& b) {
  TRINE_CHECK(a.shape == b.shape, "{} . {}", to_string(a.shape), to_string(b.shape));
  double sum = 0;
  for (int64_t i = 0; i < a.size(); ++i) sum += a(i) * b(i);
  return sum;
}

double norm(const Tensor& a) { return std::sqrt(dot(a, a)); }

double relative_error(const Tensor& a, const Tensor& b) {
  const double scale = norm(b);
  return norm(a + -1.0 * b) / (scale == 0 ? 1 : scale);
}

Tensor slice(const Tensor& x, int dim, int64_t begin, int64_t size) {
  Shape shape = x.shape;
  shape[dim] = size;
  Tensor y(shape);
  int64_t inner = 1;  // elements of one index of `dim`
  for (int d = dim + 1; d < x.shape.num_dims(); ++d) inner *= x.shape[d];
  const int64_t from = x.shape[dim] * inner, to = size * inner;
  for (int64_t i = 0; i < y.size(); ++i) y(i) = x(i / to * from + begin * inner + i % to);
  return y;
}

Tensor concatenate(const std::vector<Tensor>& parts, int dim) {
  Shape shape = parts.at(0).shape;
  shape[dim] = 0;
  for (const Tensor& part : parts) shape[dim] += part.shape[dim];
  Tensor y(shape);
  int64_t inner = 1, begin = 0;
  for (int d = dim + 1; d < shape.num_dims(); ++d) inner *= shape[d];
  for (const Tensor& part : parts) {
    const int64_t from = part.shape[dim] * inner, to = shape[dim] * inner;
    for (int64_t i = 0; i < part.size(); ++i) y(i / from * to + begin * inner + i % from) = part(i);
    begin += part.shape[dim];
  }
  return y;
}

Tensor shard(const Tensor& logical, const TensorType& type, const Mesh& mesh, Coordinate coordinate) {
  Tensor local = logical;
  for (Axis axis : kAxes) {
    const Placement p = type.on(axis);
    if (p.is(PlacementKind::kSplit)) {
      const int64_t extent = local.shape[p.dim];
      local = slice(local, p.dim, split_begin(extent, mesh[axis], coordinate[axis]),
                    split_size(extent, mesh[axis], coordinate[axis]));
    } else if (p.is(PlacementKind::kPartial) && coordinate[axis] > 0) {
      local = 0.0 * local;
    }
  }
  return local;
}

namespace {

Tensor merge(const std::vector<Tensor>& parts, Placement placement) {
  if (placement.is(PlacementKind::kSplit)) return concatenate(parts, placement.dim);
  Tensor merged = parts.at(0);
  for (size_t i = 1; i < parts.size(); ++i) {
    if (placement.is(PlacementKind::kPartial)) {
      merged = merged + parts[i];
    } else {
      const double error = relative_error(parts[i], parts[0]);
      TRINE_CHECK(error < 1e-9, "copies placed {} differ by {}", to_string(placement), error);
    }
  }
  return merged;
}

}  // namespace

Tensor unshard(const std::vector<Tensor>& locals, const TensorType& type, const Mesh& mesh) {
  std::vector<Tensor> over_pp;
  for (int pp = 0; pp < mesh.pp; ++pp) {
    std::vector<Tensor> over_dp;
    for (int dp = 0; dp < mesh.dp; ++dp) {
      std::vector<Tensor> over_tp;
      for (int tp = 0; tp < mesh.tp; ++tp)
        over_tp.push_back(locals.at(static_cast<size_t>(mesh.rank({pp, dp, tp}))));
      over_dp.push_back(merge(over_tp, type.on(Axis::kTp)));
    }
    over_pp.push_back(merge(over_dp, type.on(Axis::kDp)));
  }
  return merge(over_pp, type.on(Axis::kPp));
}

}  // namespace trine::reference
