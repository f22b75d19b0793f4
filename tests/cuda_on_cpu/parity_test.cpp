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

using Parameters = std::tuple<std::string_view, DType>;
class CudaOnCpuParity : public testing::TestWithParam<Parameters> {};

TEST_P(CudaOnCpuParity, WithTheReference) {
  const auto [op, dtype] = GetParam();
  in_both_orders([&](Machine& machine) { expect_parity(machine, op, dtype); });
}

class CudaOnCpuFusedOp : public CudaOnCpuParity {};

TEST_P(CudaOnCpuFusedOp, GivesTheBitsOfItsPlainOps) {
  const auto [op, dtype] = GetParam();
  in_both_orders([&](Machine& machine) { expect_bits_of_decomposition(machine, op, dtype); });
}

const auto kDTypes = testing::Values(DType::kF32, DType::kBF16, DType::kF16);
const auto name_of_case = [](const auto& parameters) {
  return fmt::format("{}_{}", std::get<0>(parameters.param), name(std::get<1>(parameters.param)));
};
INSTANTIATE_TEST_SUITE_P(Cuda, CudaOnCpuParity, testing::Combine(testing::ValuesIn(ops_with_cases()), kDTypes),
                         name_of_case);
INSTANTIATE_TEST_SUITE_P(Cuda, CudaOnCpuFusedOp, testing::Combine(testing::ValuesIn(fused_ops()), kDTypes),
                         name_of_case);

TEST(CudaOnCpu, CopiesHostInputs) { in_both_orders(expect_host_inputs_copied); }
TEST(CudaOnCpu, AddsTheNormOfAllBuckets) { in_both_orders(expect_norm_of_all_buckets); }
TEST(CudaOnCpu, FindsWhatIsNotFinite) { in_both_orders(expect_non_finite_found); }

}  // namespace
}  // namespace trine::reference
