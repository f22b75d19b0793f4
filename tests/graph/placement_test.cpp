// Duality, and the table of collectives: each row's backward, as Collective::vjp emits it, and what each moves.
#include "graph/placement.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "graph/builder.h"
#include "ops/collective.h"
#include "tests/reference/interpreter.h"

namespace trine {
namespace {

constexpr auto I = Placement::invariant(), R = Placement::replicated(), P = Placement::partial();
constexpr auto S = Placement::split(0);

TEST(Placement, DualIsAnInvolution) {
  EXPECT_EQ(dual(I), I);
  EXPECT_EQ(dual(R), P);
  EXPECT_EQ(dual(P), R);
  EXPECT_EQ(dual(S), S);
  EXPECT_EQ(dual(Placement::batch_split()), Placement::batch_split());
  for (Placement p : {I, R, P, S}) EXPECT_EQ(dual(dual(p)), p);
}

struct Row {
  Transition forward;
  const char* forward_name;
  Transition backward;
  const char* backward_name;
};

const Row kTable[] = {
    {{I, R}, "enter", {P, I}, "all_reduce"},
    {{P, I}, "all_reduce", {I, R}, "enter"},
    {{P, R}, "all_reduce", {P, R}, "all_reduce"},
    {{S, R}, "all_gather", {P, S}, "reduce_scatter"},
    {{P, S}, "reduce_scatter", {S, R}, "all_gather"},
    {{S, I}, "all_gather", {I, S}, "slice"},
    {{I, S}, "slice", {S, I}, "all_gather"},
    {{R, S}, "slice", {S, P}, "pad"},
    {{S, P}, "pad", {R, S}, "slice"},
};

class Collectives : public testing::TestWithParam<Row> {};

TEST_P(Collectives, HaveTheBackwardOfTheTable) {
  const Row& row = GetParam();
  EXPECT_EQ(transpose(row.forward), row.backward);
  EXPECT_EQ(transpose(row.backward), row.forward);

  const Mesh mesh{.tp = 4};
  TensorType type{DType::kF32, {7, 3}}, dy_type = type;  // 7 rows over 4 ranks: 2, 2, 2, 1
  type.on(Axis::kTp) = row.forward.from;
  dy_type.on(Axis::kTp) = dual(row.forward.to);
  Builder b(mesh);
  const ValueId x = b.read(b.add_state({.name = "x", .type = type}));
  const ValueId dy = b.read(b.add_state({.name = "dy", .type = dy_type}));
  const ValueId y = b.add(Collective(Axis::kTp, row.forward), {x});
  const Node forward = b.graph().nodes().back();
  const ValueId dx = forward.op->vjp(b, forward, std::vector{dy}).at(0);
  const Node backward = b.graph().nodes().back();
  EXPECT_EQ(forward.op->name(), row.forward_name);
  EXPECT_EQ(backward.op->name(), row.backward_name);
  EXPECT_EQ(dynamic_cast<const Collective&>(*backward.op).change, row.backward);
  EXPECT_EQ(b.type(y).on(Axis::kTp), row.forward.to);
  EXPECT_EQ(b.type(dx).on(Axis::kTp), dual(type.on(Axis::kTp))) << "a gradient is placed dual to its value";

  // A collective changes where a tensor lives, never what it is.
  reference::Interpreter interpreter(b.finish());
  const auto values = reference::random_normal({7, 3}, 1), gradients = reference::random_normal({7, 3}, 2);
  interpreter.set("x", values);
  interpreter.set("dy", gradients);
  interpreter.run_step();
  EXPECT_EQ(interpreter.get(y).data, values.data);
  EXPECT_EQ(interpreter.get(dx).data, gradients.data);
}

INSTANTIATE_TEST_SUITE_P(Table, Collectives, testing::ValuesIn(kTable), [](const auto& row) {
  return fmt::format("{}_{}_to_{}", row.param.forward_name, to_string(row.param.forward.from),
                     to_string(row.param.forward.to));
});

TEST(Collectives, RefuseWhatNoneDoes) {
  for (Transition change : {Transition{R, I}, Transition{R, P}, Transition{I, P}, Transition{I, I}})
    EXPECT_THROW(Collective(Axis::kTp, change), CheckError) << to_string(change.from) << to_string(change.to);
}

TEST(Collectives, RefuseAnotherPlacementAndLeaveOtherAxesAlone) {
  Builder b(Mesh{.dp = 2, .tp = 2});
  TensorType type{DType::kF32, {4, 4}};
  type.on(Axis::kDp) = Placement::batch_split();
  type.on(Axis::kTp) = P;
  const ValueId x = b.read(b.add_state({.name = "x", .type = type}));
  const ValueId y = b.add(Collective(Axis::kTp, {P, S}), {x});
  EXPECT_EQ(b.type(y).on(Axis::kDp), Placement::batch_split());
  EXPECT_THAT(
      [&] {
        b.add(Collective(Axis::kTp, {P, I}), {y});
      },
      testing::ThrowsMessage<TypeError>(testing::HasSubstr("all_reduce takes P on tp, got S0")));
}

// Bytes on the wire per rank, of the standard algorithms, for 12 f32 = 48 bytes over 4 ranks.
TEST(Collectives, CountTheirBytes) {
  const auto wire = [](Transition change) {
    TensorType in{DType::kF32, {12, 1}}, out = in;
    in.on(Axis::kTp) = change.from;
    out.on(Axis::kTp) = change.to;
    return Collective(Axis::kTp, change).cost(std::vector{in}, std::vector{out}, Mesh{.tp = 4}).wire_bytes;
  };
  EXPECT_EQ(wire({P, I}), 2 * 36);
  EXPECT_EQ(wire({S, R}), 36);
  EXPECT_EQ(wire({P, S}), 36);
  EXPECT_EQ(wire({I, R}), 0);
  EXPECT_EQ(wire({R, S}), 0);
  EXPECT_EQ(wire({S, P}), 0);
}

}  // namespace
}  // namespace trine
