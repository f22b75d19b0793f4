// Kernels and copies that the CUDA backend captures, and launches again as a graph.
#include <cuda_runtime_api.h>
#include <functional>
#include <gmock/gmock.h>
#include <thread>
#include <vector>

#include "kernels/cuda/context.h"
#include "kernels/cuda/device/functions.h"
#include "runtime/device/backend.h"
#include "tests/cuda_on_cpu/runtime.h"

namespace trine {
namespace {

constexpr int kSecondDevice = on_cpu::kNumDevices - 1;

class CudaRecordings : public testing::Test {
 protected:
  // x := a, then y := x. The first is a kernel of ours, the second a copy.
  void enqueue(float a) {
    auto* const stream = static_cast<cudaStream_t>(backend_->native(Lane::kCompute));
    cuda::set_scalars(stream, numbers(), a, numbers() + 1, 0);
    backend_->copy(Lane::kCompute, memory_->data(), memory_->data() + 8, sizeof(float));
  }
  float* numbers() { return reinterpret_cast<float*>(memory_->data()); }

  std::unique_ptr<Backend> backend_ = make_cuda_backend(kSecondDevice);
  Timeline& timeline_ = backend_->timeline();
  std::unique_ptr<DeviceMemory> memory_ = backend_->allocate(64);
};

TEST_F(CudaRecordings, WhatIsRecordedRunsAtEachReplayAndNotBefore) {
  const int64_t before = on_cpu::num_graphs();
  {
    const auto recording = timeline_.record(Lane::kCompute, [&] { enqueue(3); });
    EXPECT_EQ(numbers()[0], 0);
    for (int time = 0; time < 2; ++time) {
      numbers()[0] = numbers()[2] = 7;
      recording->enqueue();
      timeline_.synchronize_all();
      EXPECT_EQ(numbers()[0], 3);
      EXPECT_EQ(numbers()[2], 3);
    }
    enqueue(5);  // the queue works as before
    EXPECT_EQ(numbers()[2], 5);
  }
  EXPECT_EQ(on_cpu::num_graphs(), before) << "a graph is left";
}

// What a capture forbids is an error, nothing of it runs, and the queue and later checks know nothing of it.
TEST_F(CudaRecordings, WhatCannotBeRecordedLeavesTheQueueAsItWas) {
  const int64_t before = on_cpu::num_graphs();
  for (const std::function<void()>& forbidden : std::vector<std::function<void()>>{
           [&] { backend_->allocate(64); }, [&] { timeline_.synchronize_all(); },
           [&] { timeline_.synchronize_all(); }, [&] { throw DataError("no kernel"); }}) {
    EXPECT_THROW(timeline_.record(Lane::kCompute,
                                  [&] {
                                    enqueue(3);
                                    forbidden();
                                  }),
                 Error);
    EXPECT_EQ(numbers()[0], 0);
  }
  EXPECT_THROW(timeline_.record(Lane::kCompute, [&] { cudaStreamSynchronize(nullptr); }), cuda::DeviceError)
      << "a forbidden call that nobody checks spoils the capture";
  EXPECT_EQ(on_cpu::num_graphs(), before);
  enqueue(4);
  cuda::check_launch("a later kernel");
  EXPECT_EQ(numbers()[2], 4);
  timeline_.record(Lane::kCompute, [&] { enqueue(6); })->enqueue();
  EXPECT_EQ(numbers()[2], 6);
}

TEST_F(CudaRecordings, EveryEntryActivatesItsDevice) {
  const int64_t before = on_cpu::calls_on_wrong_device();
  std::unique_ptr<Recording> recording;
  std::thread([&] { recording = timeline_.record(Lane::kCompute, [&] { enqueue(3); }); }).join();
  std::thread([&] { recording->enqueue(); }).join();
  std::thread([&] { recording.reset(); }).join();
  EXPECT_EQ(on_cpu::calls_on_wrong_device(), before);
  EXPECT_EQ(numbers()[2], 3);
}

// The watch over the device looks at its events meanwhile.
TEST_F(CudaRecordings, OtherThreadsGoOnMeanwhile) {
  timeline_.mark(Lane::kTp);
  const auto recording = timeline_.record(Lane::kCompute, [&] {
    enqueue(3);
    std::thread([&] {
      EXPECT_EQ(timeline_.progress().made, 1);
      EXPECT_NE(backend_->allocate(64), nullptr);
    }).join();
  });
  recording->enqueue();
  EXPECT_EQ(numbers()[2], 3);
}

}  // namespace
}  // namespace trine
