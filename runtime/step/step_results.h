// What the host reads of a step when it has ended: numbers in the device's memory, side by side. One copy is enqueued
// behind the step's work, so that the end of a step needs one wait and no more.
#pragma once

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <string>

#include "base/error.h"
#include "kernels/kernel.h"
#include "runtime/device/backend.h"

namespace trine {

class StepResults {
 public:
  // One number each, by name. REQUIRES: the plan has put them together (plan/memory_plan.h).
  StepResults(Backend& backend, std::map<std::string, TensorView> numbers)
      : backend_(backend), numbers_(std::move(numbers)), begin_(numbers_.begin()->second.data) {
    const std::byte* end = begin_;
    for (const auto& [name, view] : numbers_) {
      begin_ = std::min<const std::byte*>(begin_, view.data);
      end = std::max<const std::byte*>(end, view.data + size_bytes(view.dtype));
    }
    TRINE_CHECK(end - begin_ <= kMostBytes, "the numbers of a step lie over {} bytes", end - begin_);
    host_ = backend.allocate_host(end - begin_);
  }

  // Behind what the compute lane has.
  void enqueue() { backend_.copy(Lane::kCompute, begin_, host_->data(), host_->size()); }
  // REQUIRES: the copy is done.
  template <typename T>
  T get(const std::string& name) const {
    T value;
    std::memcpy(&value, host_->data() + (numbers_.at(name).data - begin_), sizeof value);
    return value;
  }

 private:
  static constexpr int64_t kMostBytes = 1 << 16;

  Backend& backend_;
  const std::map<std::string, TensorView> numbers_;
  const std::byte* begin_;
  std::unique_ptr<DeviceMemory> host_;
};

}  // namespace trine
