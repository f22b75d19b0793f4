#include "tests/kernels/collective_parity.h"

#include <gtest/gtest.h>

#include "comm/local/local_ranks.h"
#include "comm/world.h"
#include "graph/builder.h"
#include "ops/collective.h"
#include "ops/pipeline.h"

namespace trine {
namespace {

using namespace std::chrono_literals;

const Placement I = Placement::invariant(), R = Placement::replicated(), P = Placement::partial();
Placement S(int dim) { return Placement::split(dim); }

// Element i of a logical tensor; of a partial one, what `rank` has.
float element(int64_t i, int rank = 0) { return static_cast<float>((i * 7 + rank * 5) % 23 - 11); }
float sum_of(int64_t i, int ranks) {
  float sum = 0;
  for (int rank = 0; rank < ranks; ++rank) sum += element(i, rank);
  return sum;
}

// An operand of a rank: rows with a gap of `gap` elements behind each.
struct Operand {
  Operand(const TensorType& type, const Mesh& mesh, Coordinate at, int64_t gap)
      : shape(local_shape(type, mesh, at)),
        stride(shape.num_columns() + gap),
        data(static_cast<size_t>(shape.num_rows() * stride), kUntouched) {}
  TensorView view() {
    return {reinterpret_cast<std::byte*>(data.data()), DType::kF32, shape.num_rows(), shape.num_columns(), stride};
  }
  static constexpr float kUntouched = -777;
  const Shape shape;
  const int64_t stride;
  std::vector<float> data;
};

// Calls f(place in the operand, index in the logical tensor) for all elements of a rank's shard.
template <typename F>
void for_each_element(const Operand& operand, const TensorType& type, Axis axis, int ranks, int rank, F&& f) {
  const Placement split = type.on(axis);
  Shape begin = type.shape;
  for (int dim = 0; dim < begin.num_dims(); ++dim)
    begin[dim] =
        split.is(PlacementKind::kSplit) && split.dim == dim ? split_begin(type.shape[dim], ranks, rank) : 0;
  for (int64_t local = 0; local < operand.shape.num_elements(); ++local) {
    int64_t rest = local, logical = 0, weight = 1;
    for (int dim = type.shape.num_dims(); dim-- > 0;) {
      logical += (begin[dim] + rest % operand.shape[dim]) * weight;
      rest /= operand.shape[dim], weight *= type.shape[dim];
    }
    const int64_t columns = operand.shape.num_columns();
    f(static_cast<size_t>(local / columns * operand.stride + local % columns), logical);
  }
}

// What a rank has at logical element i afterwards.
float expected(const CollectiveCase& c, int64_t i, int ranks, int rank, const TensorType& in, const Mesh& mesh,
               Axis axis) {
  if (c.from.is(PlacementKind::kPartial)) return sum_of(i, ranks);
  if (!c.to.is(PlacementKind::kPartial)) return element(i);
  // Padding: this rank's share, zero elsewhere.
  const int dim = c.from.dim;
  int64_t index = i;
  for (int d = in.shape.num_dims(); d-- > dim + 1;) index /= in.shape[d];
  index %= in.shape[dim];
  const int64_t begin = split_begin(in.shape[dim], mesh[axis], rank),
                size = split_size(in.shape[dim], mesh[axis], rank);
  return begin <= index && index < begin + size ? element(i) : 0;
}

}  // namespace

void expect_collective(const CollectiveCase& c, int ranks, const MakeKernels& make_kernels) {
  const Mesh mesh{.tp = ranks};
  Shape shape{c.extents};
  for (int dim = 0; dim < shape.num_dims(); ++dim)
    if (shape[dim] == 0) shape[dim] = ranks;
  TensorType in_type{DType::kF32, shape};
  in_type.on(Axis::kTp) = c.from;
  const Collective op(Axis::kTp, {c.from, c.to}, shape.num_dims());
  const Types out_types = infer_types(op, std::span(&in_type, 1), mesh);
  ASSERT_EQ(out_types[0].on(Axis::kTp), c.to);

  run_local_ranks(ranks, [&](Fabric& fabric) {
    CommWorld world(fabric, mesh, 10s);
    const int rank = fabric.rank();
    Operand in(in_type, mesh, world.coordinate(), c.gap), out(out_types[0], mesh, world.coordinate(), c.gap);
    const bool partial = c.from.is(PlacementKind::kPartial);
    for_each_element(in, in_type, Axis::kTp, ranks, rank,
                     [&](size_t place, int64_t i) { in.data[place] = element(i, partial ? rank : 0); });
    const std::vector<float> before = in.data;
    const TensorView input = in.view(), output = c.in_place ? input : out.view();
    KernelRequest request{op, {&input, 1}, {&output, 1}, mesh, world.coordinate(), 1, 0, {&in_type, 1}, out_types};
    request.group = &world[Group::kTp];
    make_kernels().make(request)({.inputs = {&input, 1}, .outputs = {&output, 1}, .workspace = {}});

    std::vector<float> want(c.in_place ? before : std::vector<float>(out.data.size(), Operand::kUntouched));
    for_each_element(out, out_types[0], Axis::kTp, ranks, rank, [&](size_t place, int64_t i) {
      want[place] = expected(c, i, ranks, rank, in_type, mesh, Axis::kTp);
    });
    EXPECT_EQ(c.in_place ? in.data : out.data, want) << "rank " << rank;
    if (!c.in_place) {
      EXPECT_EQ(in.data, before) << "rank " << rank << " changed its input";
    }
  });
}

std::vector<CollectiveCase> collective_cases() {
  return {{"all_reduce", P, I, {5, 7}},
          {"all_reduce_in_place", P, R, {5, 7}, 0, true},
          {"all_reduce_of_one", P, I, {1}},
          {"all_gather", S(0), R, {8, 5}},
          {"all_gather_uneven", S(0), I, {11, 3}},
          {"all_gather_few_rows", S(0), R, {1, 6}},
          {"all_gather_vector", S(0), I, {19}},
          {"all_gather_statistics", S(0), I, {0, 4, 3}},
          {"reduce_scatter", P, S(0), {8, 5}},
          {"reduce_scatter_uneven", P, S(0), {11, 3}},
          {"reduce_scatter_few_rows", P, S(0), {2, 3}},
          {"reduce_scatter_vector", P, S(0), {19}},
          // Long enough for several pieces where they are staged.
          {"all_reduce_in_pieces", P, I, {3, 700001}},
          {"all_gather_in_pieces", S(0), R, {12, 300007}},
          {"reduce_scatter_in_pieces", P, S(0), {12, 300007}},
          {"slice_columns", R, S(1), {6, 12}, 5},
          {"slice_rows", I, S(0), {11, 4}, 3},
          {"slice_uneven_columns", R, S(1), {4, 11}},
          {"slice_vector", I, S(0), {17}},
          {"pad_columns", S(1), P, {6, 12}, 5},
          {"pad_rows", S(0), P, {11, 4}, 3},
          {"pad_vector", S(0), P, {17}}};
}

void expect_states_sent(const MakeKernels& make_kernels) {
  const Mesh mesh{.pp = 3, .dp = 1, .tp = 2};
  const TensorType type{DType::kF32, {300}};
  run_local_ranks(mesh.num_ranks(), [&](Fabric& fabric) {
    CommWorld world(fabric, mesh, 10s);
    const Coordinate at = world.coordinate();
    std::vector<float> data(300);
    for (size_t i = 0; i < data.size(); ++i)
      data[i] = static_cast<float>(i) + 1000.0f * static_cast<float>(fabric.rank());
    const TensorView view{reinterpret_cast<std::byte*>(data.data()), DType::kF32, 1, 300, 300};
    const auto run = [&](const Op& op, std::span<const TensorView> in, std::span<const TensorView> out) {
      KernelRequest request{op, in, out, mesh, at, 1, 0};
      request.group = &world[Group::kPp];
      make_kernels().make(request)({.inputs = in, .outputs = out, .workspace = {}});
    };
    if (at.pp == 0) run(ReceiveState(2, type), {}, {&view, 1});
    if (at.pp == 2) run(SendState(0), {&view, 1}, {});
    const int owner = at.pp == 0 ? mesh.rank({.pp = 2, .dp = 0, .tp = at.tp}) : fabric.rank();
    EXPECT_EQ(data[0], 1000.0f * static_cast<float>(owner));
    EXPECT_EQ(data[299], 299 + 1000.0f * static_cast<float>(owner));
  });
}

void expect_enter_copies(const MakeKernels& make_kernels) {
  std::vector<float> from = {1, 2, 3}, to(3);
  const TensorView in{reinterpret_cast<std::byte*>(from.data()), DType::kF32, 1, 3, 3};
  const TensorView out{reinterpret_cast<std::byte*>(to.data()), DType::kF32, 1, 3, 3};
  const Collective op(Axis::kTp, {I, R}, 1, true);
  const KernelRequest request{op, {&in, 1}, {&out, 1}, Mesh{.tp = 2}, {}};
  make_kernels().make(request)({.inputs = {&in, 1}, .outputs = {&out, 1}, .workspace = {}});
  EXPECT_EQ(to, from);
}

}  // namespace trine
