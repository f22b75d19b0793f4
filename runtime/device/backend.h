// What the runtime needs of a device: memory, kernels, copies, and the order of its work. A backend is a folder of
// kernels and one of these.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "kernels/kernel.h"
#include "plan/config/config.h"
#include "plan/memory_plan.h"
#include "runtime/device/timeline.h"

namespace trine {

// One allocation of memory, zeroed; freed when it goes out of scope.
class DeviceMemory {
 public:
  virtual ~DeviceMemory() = default;
  std::byte* data() const { return data_; }
  int64_t size() const { return size_; }

 protected:
  std::byte* data_ = nullptr;
  int64_t size_ = 0;
};

// Memory of a device apart from the host's.
struct DeviceRoom {
  int64_t free_bytes = 0, total_bytes = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual DeviceKind device() const = 0;
  virtual std::string describe() const = 0;  // "cpu avx512bf16, 2 threads, oneDNN 2.6.3"
  virtual const KernelTable& kernels() const = 0;
  virtual Timeline& timeline() = 0;
  // OutOfMemoryError if the device refuses.
  virtual std::unique_ptr<DeviceMemory> allocate(int64_t bytes) = 0;
  // Host memory that the device copies from and to by itself.
  virtual std::unique_ptr<DeviceMemory> allocate_host(int64_t bytes) = 0;

  // Between the host's memory and the device's, in order with the compute lane. `host` is free when the call
  // returns; what was written is there for all that is enqueued in the compute lane later.
  virtual void read(const std::byte* device, std::span<std::byte> host) const = 0;
  virtual void write(std::span<const std::byte> host, std::byte* device) const = 0;
  virtual void fill(std::span<std::byte> device, std::byte value) const = 0;
  virtual int64_t count_non_finite(const TensorView& view) const = 0;
  // Enqueued; both ends are of allocate() or allocate_host().
  virtual void copy(Queue queue, const std::byte* from, std::byte* to, int64_t bytes) = 0;

  // A queue besides the lanes', and how the device's libraries call a queue (a cudaStream_t).
  virtual Queue add_queue() = 0;
  virtual void* native(Queue queue) const = 0;

  // Nullopt where the device works in the host's memory.
  virtual std::optional<DeviceRoom> room() const = 0;
  // What its libraries took of it when they were opened so far: a name and bytes each.
  virtual std::vector<std::pair<std::string, int64_t>> library_bytes() const { return {}; }
  // Names the device among all ranks' of this host; empty where there is none.
  virtual std::string identity() const = 0;

  // Between the two, nothing of value is in the device's memory, so that kernels may try several ways at their
  // first call and keep the best. False: none does. end_trials() says what was found; empty: nothing.
  virtual bool begin_trials() { return false; }
  virtual std::string end_trials() { return {}; }
  // What was found, as a text that another rank's backend adopts, so that ranks which compute the same numbers do so
  // in the same way.
  virtual std::string trial_results() const { return {}; }
  virtual void adopt_trials(const std::string& /*results*/) {}

  // What a user should know of the kernels that were made, such as that a slow one stands for a fast one. A
  // sentence each, none twice.
  virtual std::vector<std::string> notices() const { return {}; }

  // Whether a kernel's first launch takes longer than others, and may wait for what runs on the device.
  virtual bool loads_kernels_late() const { return true; }
};

// What runs a plan asks this first: kernels of another kind of device need other scratch memory than it has.
inline void check_device_of_plan(const MemoryPlan& memory, const Backend& backend) {
  TRINE_CHECK(memory.device == backend.device(), "a plan for {} on a backend of {}", name(memory.device),
              name(backend.device()));
}

std::unique_ptr<Backend> make_cpu_backend(int threads);

// ConfigError where there is no such device, or where the program was built without CUDA. Several ranks may take
// the same one.
std::unique_ptr<Backend> make_cuda_backend(int device, const KernelOptions& options = {});
// ConfigError unless make_cuda_backend() finds one; takes nothing of it. The number of devices.
int find_cuda_devices();

}  // namespace trine
