// The CUDA backend's calls from threads that have not chosen a device (lanes, pipeline edges, the device's watch):
// on all GPUs but the first, each would meet the first one.
#include <cuda_runtime_api.h>
#include <functional>
#include <gtest/gtest.h>
#include <thread>
#include <vector>

#include "runtime/device/backend.h"
#include "tests/cuda_on_cpu/runtime.h"

namespace trine {
namespace {

constexpr int kSecondDevice = on_cpu::kNumDevices - 1;

void on_fresh_thread(const std::function<void()>& call) { std::thread(call).join(); }

// More queues than the 8 that share connections by default, and wait for each other then.
TEST(CudaThreads, QueuesHaveConnectionsOfTheirOwn) {
  const auto backend = make_cuda_backend(0);
  EXPECT_EQ(on_cpu::connections_at_first_call(), "32");
}

TEST(CudaThreads, ACallOnTheWrongDeviceIsSeen) {
  const auto backend = make_cuda_backend(kSecondDevice);
  auto* const stream = backend->native(Lane::kCompute);
  const int64_t before = on_cpu::calls_on_wrong_device();
  on_fresh_thread([&] { cudaStreamSynchronize(static_cast<cudaStream_t>(stream)); });
  EXPECT_EQ(on_cpu::calls_on_wrong_device(), before + 1);
}

TEST(CudaThreads, EveryEntryActivatesItsDevice) {
  const auto backend = make_cuda_backend(kSecondDevice);
  Timeline& timeline = backend->timeline();
  const auto memory = backend->allocate(64), pinned = backend->allocate_host(64);
  const TensorView view{memory->data(), DType::kF32, 4, 4, 4};
  std::vector<std::byte> host(64);
  Queue queue(Lane::kPp);
  Mark mark = 0;
  const std::pair<const char*, std::function<void()>> calls[] = {
      {"begin_step", [&] { timeline.begin_step(); }},
      {"add_queue", [&] { queue = backend->add_queue(); }},
      {"mark", [&] { mark = timeline.mark(queue); }},
      {"wait", [&] { timeline.wait(Lane::kTp, mark); }},
      {"synchronize", [&] { timeline.synchronize(mark); }},
      {"synchronize_all", [&] { timeline.synchronize_all(); }},
      {"time_ns", [&] { timeline.time_ns(mark); }},
      {"progress", [&] { EXPECT_EQ(timeline.progress().made, 1); }},
      {"allocate", [&] { backend->allocate(64); }},
      {"allocate_host", [&] { backend->allocate_host(64); }},
      {"write", [&] { backend->write(host, memory->data()); }},
      {"read", [&] { backend->read(memory->data(), host); }},
      {"fill",
       [&] {
         backend->fill({memory->data(), 64}, std::byte{0});
       }},
      {"count_non_finite", [&] { EXPECT_EQ(backend->count_non_finite(view), 0); }},
      {"copy", [&] { backend->copy(queue, memory->data(), pinned->data(), 64); }},
      {"room", [&] { backend->room(); }},
  };
  for (const auto& [name, call] : calls) {
    const int64_t before = on_cpu::calls_on_wrong_device();
    on_fresh_thread(call);
    EXPECT_EQ(on_cpu::calls_on_wrong_device(), before) << name;
  }
}

}  // namespace
}  // namespace trine
