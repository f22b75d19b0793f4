// CUDA's kernels against the f64 reference (parity.h), as op_parity_test.cpp has the CPU's; and that the two
// backends have kernels for the same ops, which needs no GPU.
#include <algorithm>
#include <fmt/core.h>
#include <gmock/gmock.h>

#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cuda/cuda_kernels.h"
#include "runtime/device/backend.h"
#include "tests/kernels/parity.h"

namespace trine::reference {
namespace {

// Runs on copies of the buffers in the device's memory, of the same alignment up to 64 bytes.
class CudaMachine final : public Machine {
 public:
  std::string name() const override { return backend_->describe(); }
  Target target() const override { return {DeviceKind::kCuda, 1}; }
  const KernelTable& kernels() const override { return backend_->kernels(); }

  bool run(const Kernel& kernel, const KernelCall& call, std::span<Buffer> buffers,
           int64_t workspace_bytes) override {
    std::vector<Copy> copies;
    for (Buffer& buffer : buffers) copies.emplace_back(*backend_, buffer);
    const auto on_device = [&](std::span<const TensorView> views) {
      std::vector<TensorView> moved(views.begin(), views.end());
      for (TensorView& view : moved) view.data = address(copies, view.data);
      return moved;
    };
    const std::vector<TensorView> inputs = on_device(call.inputs), outputs = on_device(call.outputs);
    const auto workspace = backend_->allocate(workspace_bytes + 2 * kGuard);
    backend_->fill({workspace->data(), static_cast<size_t>(workspace->size())}, kSentinel);
    KernelCall moved = call;
    moved.inputs = inputs;
    moved.outputs = outputs;
    moved.workspace = {workspace->data() + kGuard, static_cast<size_t>(workspace_bytes)};
    kernel(moved);
    for (const Copy& copy : copies) copy.bring_back(*backend_);
    return untouched(workspace->data()) && untouched(workspace->data() + kGuard + workspace_bytes);
  }

 private:
  // A buffer with its guards.
  struct Copy {
    std::byte* host;
    std::unique_ptr<DeviceMemory> device;

    Copy(Backend& backend, Buffer& buffer)
        : host(buffer.data() - kGuard), device(backend.allocate(std::ssize(buffer.span()) + 2 * kGuard)) {
      backend.write({host, size()}, device->data());
    }
    size_t size() const { return static_cast<size_t>(device->size()); }
    void bring_back(const Backend& backend) const { backend.read(device->data(), {host, size()}); }
  };

  static std::byte* address(const std::vector<Copy>& copies, const std::byte* data) {
    for (const Copy& copy : copies)
      if (data >= copy.host && data < copy.host + copy.size()) return copy.device->data() + (data - copy.host);
    TRINE_CHECK(false, "an operand outside of all buffers");
    return nullptr;
  }

  bool untouched(const std::byte* guard) const {
    std::array<std::byte, kGuard> bytes;
    backend_->read(guard, bytes);
    return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == kSentinel; });
  }

  std::unique_ptr<Backend> backend_ = make_cuda_backend(0);
};

bool has_gpu() { return cuda::find_devices().count > 0; }

class CudaParity : public testing::TestWithParam<OpAndDType> {};

TEST_P(CudaParity, WithTheReference) {
  if (!has_gpu()) GTEST_SKIP() << "no GPU";
  CudaMachine machine;
  expect_parity(machine, std::get<0>(GetParam()), std::get<1>(GetParam()));
}

class CudaFusedOp : public CudaParity {};

TEST_P(CudaFusedOp, GivesTheBitsOfItsPlainOps) {
  if (!has_gpu()) GTEST_SKIP() << "no GPU";
  CudaMachine machine;
  expect_bits_of_decomposition(machine, std::get<0>(GetParam()), std::get<1>(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(Cuda, CudaParity, testing::ValuesIn(all_ops()),
                         [](const auto& test) { return name_of(test.param); });
INSTANTIATE_TEST_SUITE_P(Cuda, CudaFusedOp, testing::ValuesIn(fused_ops()),
                         [](const auto& test) { return name_of(test.param); });

TEST(CudaKernels, CopyHostInputs) {
  if (!has_gpu()) GTEST_SKIP() << "no GPU";
  CudaMachine machine;
  expect_host_inputs_copied(machine);
}

TEST(CudaKernels, AddTheNormOfAllBuckets) {
  if (!has_gpu()) GTEST_SKIP() << "no GPU";
  CudaMachine machine;
  expect_norm_of_all_buckets(machine);
}

TEST(CudaKernels, FindWhatIsNotFinite) {
  if (!has_gpu()) GTEST_SKIP() << "no GPU";
  CudaMachine machine;
  expect_non_finite_found(machine);
  expect_norm_at_its_limit(machine);
  expect_tokens_counted_exactly(machine);
}

// The table names ops without touching a device. Both lists of exceptions are to stay empty.
TEST(CudaKernels, AreTwinsOfTheCpus) {
  const std::vector<std::string> cuda = cuda::make_cuda_kernels(nullptr).ops(),
                                 cpu = cpu::make_cpu_kernels(cpu::best_isa(), 1).ops();
  if (cuda.empty()) GTEST_SKIP() << "no GPU";  // built without nvcc
  const auto without = [](const std::vector<std::string>& all, const std::vector<std::string>& these) {
    std::vector<std::string> rest;
    std::set_difference(all.begin(), all.end(), these.begin(), these.end(), std::back_inserter(rest));
    return rest;
  };
  EXPECT_THAT(without(cuda, cpu), testing::IsEmpty());
  EXPECT_THAT(without(cpu, cuda), testing::IsEmpty());
}

}  // namespace
}  // namespace trine::reference
