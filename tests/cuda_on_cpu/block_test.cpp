// The block on the CPU shows the mistakes that it is for.
#include "tests/cuda_on_cpu/block.h"

#include <cmath>
#include <cuda_runtime_api.h>
#include <gmock/gmock.h>
#include <numeric>
#include <vector>

#include "kernels/cuda/context.h"
#include "tests/cuda_on_cpu/mistakes.h"

namespace trine::on_cpu {
namespace {

using testing::HasSubstr;

// What a call says that fails.
template <typename F>
std::string error_of(F&& call) {
  try {
    call();
  } catch (const cuda::DeviceError& error) {
    return error.what();
  }
  return "no error";
}

// Whether the results are right with threads in both orders.
template <typename F>
bool right_in_both_orders(F&& is_right) {
  bool right = true;
  for (const Order order : {Order::kForward, Order::kReversed}) {
    set_order(order);
    right = is_right() && right;
  }
  set_order(Order::kForward);
  return right;
}

TEST(BlockOnCpu, AMissingBarrierGivesWrongResults) {
  std::vector<float> from(256), want;
  std::iota(from.begin(), from.end(), 1.0f);
  want.assign(from.rbegin(), from.rend());
  const auto reverses = [&](bool with_barrier) {
    return right_in_both_orders([&] {
      std::vector<float> to(from.size());
      reverse(nullptr, 256, from.data(), to.data(), with_barrier);
      return to == want;
    });
  };
  EXPECT_TRUE(reverses(true));
  EXPECT_FALSE(reverses(false));

  const auto sums = [&](bool with_barrier) {
    return right_in_both_orders([&] {
      std::vector<float> got(5);
      sum_again_and_again(nullptr, 5, got.data(), with_barrier);
      return got == std::vector<float>{0, 496, 992, 1488, 1984};
    });
  };
  EXPECT_TRUE(sums(true));
  EXPECT_FALSE(sums(false));
}

TEST(BlockOnCpu, ABarrierThatNotAllReachIsAnError) {
  EXPECT_EQ(error_of([] { barrier_of_some(nullptr, 64, false); }), "no error");
  // Threads that have ended are not waited for.
  EXPECT_EQ(error_of([] { barrier_of_some(nullptr, 40, true); }), "no error");
  const std::string error = error_of([] { barrier_of_some(nullptr, 40, false); });
  EXPECT_THAT(error, HasSubstr("not all threads reach a barrier. 0 of 64 have ended, 40 wait in mistakes.cu:"));
  EXPECT_THAT(error_of([] { barriers_in_two_lines(nullptr); }), HasSubstr("others in mistakes.cu:"));
  // The next launch is as if nothing had been.
  EXPECT_EQ(error_of([] { barrier_of_some(nullptr, 64, false); }), "no error");
}

TEST(BlockOnCpu, ThreadsThatHaveEndedBringNothing) {
  float sum = 0;
  sum_of_warp(nullptr, 32, &sum);
  EXPECT_EQ(sum, 32);
  sum_of_warp(nullptr, 31, &sum);
  EXPECT_TRUE(std::isnan(sum));
}

TEST(BlockOnCpu, UnwrittenSharedMemoryIsNaN) {
  float of_static = 0, of_dynamic = 0;
  read_unwritten(nullptr, &of_static, &of_dynamic);
  EXPECT_TRUE(std::isnan(of_static));
  EXPECT_TRUE(std::isnan(of_dynamic));
  EXPECT_EQ(error_of([] { write_shared(nullptr, 7); }), "no error");
  EXPECT_THAT(error_of([] { write_shared(nullptr, 8); }), HasSubstr("behind its 32 bytes"));
}

TEST(BlockOnCpu, LaunchesHaveTheLimitsOfAGpu) {
  const auto error = [](unsigned blocks_y, unsigned threads, size_t shared_bytes, bool ask) {
    return error_of([&] { launch_empty(nullptr, blocks_y, threads, shared_bytes, ask); });
  };
  EXPECT_EQ(error(1, 1024, 48 << 10, false), "no error");
  EXPECT_THAT(error(1, 1025, 0, false), HasSubstr("a block of 1025 x 1 x 1 threads"));
  EXPECT_THAT(error(65536, 32, 0, false), HasSubstr("a grid of 1 x 65536 x 1 blocks"));
  EXPECT_THAT(error(0, 32, 0, false), HasSubstr("a grid of 1 x 0 x 1 blocks"));
  EXPECT_THAT(error(1, 32, (48 << 10) + 4, false), HasSubstr("bytes of dynamic shared memory, 49152 allowed"));
  EXPECT_EQ(error(1, 32, 99 << 10, true), "no error");
  EXPECT_THAT(error(1, 32, (99 << 10) + 4, true), HasSubstr("bytes of dynamic shared memory, 101376 allowed"));
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidValue);  // of asking
  EXPECT_THAT(error_of([] { take_trap(nullptr); }), HasSubstr("__trap in values.cuh:"));
}

TEST(BlockOnCpuDeathTest, AMisalignedPackEndsTheProgram) {
  alignas(16) static char bytes[32] = {};
  float sum = 1;
  misaligned(nullptr, bytes + 16, &sum);
  EXPECT_EQ(sum, 0);
  EXPECT_DEATH(misaligned(nullptr, bytes + 4, &sum), "misaligned address");
}

}  // namespace
}  // namespace trine::on_cpu
