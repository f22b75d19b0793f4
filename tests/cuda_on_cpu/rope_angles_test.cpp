// Layers share a table of angles if their frequencies are equal, not if they happen to stand at one address.
#include <gtest/gtest.h>

#include "kernels/cuda/context.h"
#include "ops/rope.h"

namespace trine {
namespace {

TEST(RopeAngles, AreFoundByTheFrequenciesThemselves) {
  const auto context = cuda::make_context(0);
  const KernelTable kernels = cuda::make_cuda_kernels(context);
  const auto prepare = [&](std::shared_ptr<const std::vector<double>> frequencies) {
    Rope op;
    op.seq = op.head_dim = 4, op.inverse_frequencies = std::move(frequencies);
    const Mesh mesh;
    alignas(16) static std::byte memory[4 * 4 * sizeof(float)];
    const TensorView rows{memory, DType::kF32, 4, 4, 4};
    const std::array views{rows};
    const std::vector types{TensorType{DType::kF32, {4, 4}}};
    kernels.make({op, views, views, mesh, {}, 1, 0, types, types});
  };
  auto changing = std::make_shared<std::vector<double>>(std::vector{1.0, 0.5});
  prepare(changing);
  *changing = {1.0, 0.25};  // as another model's, whose memory was given the same address
  prepare(changing);
  EXPECT_EQ(context->rope_angles.size(), 2u);
  prepare(std::make_shared<std::vector<double>>(std::vector{1.0, 0.25}));
  EXPECT_EQ(context->rope_angles.size(), 2u);
}

}  // namespace
}  // namespace trine
