// The sources of the CUDA kernels, run on the CPU (block.h), against the f64 reference, as tests/kernels/
// cuda_parity_test.cpp compares them on a GPU. Host code is that of the CUDA backend, but matrix products run on
// the plain kernel, and attention without cuDNN.
#include "tests/kernels/parity.h"

#include <fmt/core.h>
#include <gmock/gmock.h>

#include "kernels/cuda/cuda_kernels.h"
#include "tests/cuda_on_cpu/machine.h"

namespace trine::reference {
namespace {

template <typename F>
void in_both_orders(F&& check) {
  for (const on_cpu::Order order : {on_cpu::Order::kForward, on_cpu::Order::kReversed}) {
    CudaOnCpu machine(order);
    check(machine);
    if (testing::Test::HasFailure()) return;
  }
}

class CudaOnCpuParity : public testing::TestWithParam<OpAndDType> {};

TEST_P(CudaOnCpuParity, WithTheReference) {
  const auto [op, dtype] = GetParam();
  in_both_orders([&](Machine& machine) { expect_parity(machine, op, dtype); });
}

class CudaOnCpuFusedOp : public CudaOnCpuParity {};

TEST_P(CudaOnCpuFusedOp, GivesTheBitsOfItsPlainOps) {
  const auto [op, dtype] = GetParam();
  in_both_orders([&](Machine& machine) { expect_bits_of_decomposition(machine, op, dtype); });
}

INSTANTIATE_TEST_SUITE_P(Cuda, CudaOnCpuParity, testing::ValuesIn(all_ops()),
                         [](const auto& test) { return name_of(test.param); });
INSTANTIATE_TEST_SUITE_P(Cuda, CudaOnCpuFusedOp, testing::ValuesIn(fused_ops()),
                         [](const auto& test) { return name_of(test.param); });

TEST(CudaOnCpu, CopiesHostInputs) { in_both_orders(expect_host_inputs_copied); }
TEST(CudaOnCpu, AddsTheNormOfAllBuckets) { in_both_orders(expect_norm_of_all_buckets); }
TEST(CudaOnCpu, FindsWhatIsNotFinite) { in_both_orders(expect_non_finite_found); }
TEST(CudaOnCpu, HoldsTheNormAtItsLimit) { in_both_orders(expect_norm_at_its_limit); }
TEST(CudaOnCpu, CountsTokensExactly) { in_both_orders(expect_tokens_counted_exactly); }

}  // namespace
}  // namespace trine::reference
