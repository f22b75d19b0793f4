// The edges of a pipeline: what a stage sends forward comes back as a gradient of the dual placement.
#include "ops/pipeline.h"

#include <gmock/gmock.h>

#include "graph/builder.h"
#include "graph/verifier.h"

namespace trine {
namespace {

const Placement I = Placement::invariant(), R = Placement::replicated(), P = Placement::partial(),
                S0 = Placement::split(0), B0 = Placement::batch_split();

TensorType activation(Placement tp, Placement dp = I) {
  TensorType type{DType::kBF16, {6, 4}};
  type.on(Axis::kTp) = tp, type.on(Axis::kDp) = dp;
  return type;
}

Builder builder() { return Builder(Mesh{.pp = 2, .dp = 2, .tp = 2}); }

ValueId state(Builder& b, const TensorType& type) { return b.read(b.add_state({.name = "x", .type = type})); }

TEST(PipelineOps, WhatWasSentComesBackAsItsGradient) {
  for (const Placement tp : {I, S0, R})
    for (const Placement dp : {I, B0}) {
      Builder b = builder();
      const ValueId x = state(b, activation(tp, dp));
      EXPECT_TRUE(b.add_many(Send(1, false), {x}).empty());
      const Node send = b.graph().nodes().back();
      const auto gradients = send.op->vjp(b, send, {});
      ASSERT_EQ(gradients.size(), 1u);
      const auto& receive = dynamic_cast<const Receive&>(*b.graph().nodes().back().op);
      EXPECT_TRUE(receive.backward);
      EXPECT_EQ(receive.from_stage, 1);
      TensorType want = activation(dual(tp), dual(dp));
      EXPECT_EQ(b.type(gradients[0]), want) << to_string(b.type(gradients[0]));
      b.pair_gradient(x, gradients[0]);
      EXPECT_NO_THROW(verify(b.graph()));
    }
}

// A replicated value's gradient is a sum that is not finished: the stage that has it may not send it.
TEST(PipelineOps, ASumIsFinishedWhereItIsMade) {
  Builder b = builder();
  EXPECT_THAT([&] { b.add_many(Send(1, false), {state(b, activation(P))}); },
              testing::ThrowsMessage<TypeError>(testing::HasSubstr("takes no partial value (on tp)")));
  Builder c = builder();
  EXPECT_THAT([&] { c.emit(std::make_shared<SendState>(0), {state(c, activation(I, P))}); },
              testing::ThrowsMessage<TypeError>(testing::HasSubstr("takes no partial value (on dp)")));
}

TEST(PipelineOps, WhatWasReceivedSendsItsGradientBack) {
  Builder b = builder();
  const ValueId x = b.add(Receive(3, false, activation(S0, B0)), {});
  EXPECT_EQ(b.type(x), activation(S0, B0));
  const Node receive = b.graph().nodes().back();
  const ValueId dx = state(b, activation(S0, B0));
  EXPECT_TRUE(receive.op->vjp(b, receive, std::vector{dx}).empty()) << "it has no input";
  const Node& back = b.graph().nodes().back();
  EXPECT_EQ(back.op->name(), "send_grad");
  EXPECT_EQ(dynamic_cast<const Send&>(*back.op).to_stage, 3);
  EXPECT_EQ(back.inputs, std::vector{dx});
}

// The graph knows the type of what comes from elsewhere only through the op: precision changes it there.
TEST(PipelineOps, AReceiveTakesTheComputeType) {
  const Receive op(0, false, activation(I));
  const auto half = std::dynamic_pointer_cast<const Receive>(op.with_compute_type(DType::kF16));
  ASSERT_NE(half, nullptr);
  EXPECT_EQ(half->type.dtype, DType::kF16);
  EXPECT_EQ(half->type.shape, op.type.shape);
  EXPECT_EQ(half->from_stage, 0);
}

TEST(PipelineOps, AMessageIsTheLocalShare) {
  const Mesh mesh{.pp = 2, .dp = 1, .tp = 2};
  const TensorType whole = activation(I), share = activation(S0);
  EXPECT_EQ(Send(1, false).cost(std::span(&whole, 1), {}, mesh).wire_bytes, 6 * 4 * 2);
  EXPECT_EQ(Send(1, false).cost(std::span(&share, 1), {}, mesh).wire_bytes, 3 * 4 * 2);
  const Cost receive = Receive(0, false, share).cost({}, std::span(&share, 1), mesh);
  EXPECT_EQ(receive.wire_bytes, 0) << "counted by the sender";
  EXPECT_EQ(receive.bytes_written, 3 * 4 * 2);
}

}  // namespace
}  // namespace trine
