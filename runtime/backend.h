// What the runtime needs of a device: memory, kernels and copies. A backend is a folder of kernels and one of
// these.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "kernels/kernel.h"

namespace trine {

// One allocation of device memory, zeroed; freed when it goes out of scope.
class DeviceMemory {
 public:
  virtual ~DeviceMemory() = default;
  std::byte* data() const { return data_; }
  int64_t size() const { return size_; }

 protected:
  std::byte* data_ = nullptr;
  int64_t size_ = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string describe() const = 0;  // "cpu avx512bf16, 2 threads, oneDNN 2.6.3"
  virtual const KernelTable& kernels() const = 0;
  // OutOfMemoryError if the device refuses.
  virtual std::unique_ptr<DeviceMemory> allocate(int64_t bytes) = 0;
  virtual void read(const std::byte* device, std::span<std::byte> host) const = 0;
  virtual void write(std::span<const std::byte> host, std::byte* device) const = 0;
  virtual int64_t count_non_finite(const TensorView& view) const = 0;
};

std::unique_ptr<Backend> make_cpu_backend(int threads);

}  // namespace trine
