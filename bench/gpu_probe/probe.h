// What one GPU is worth to Trine, beyond what its tests say: each part prints a line per question, which
// scripts/gpu_check.sh puts into its table.
#pragma once

#include <cstdint>
#include <fmt/core.h>
#include <functional>
#include <string>
#include <vector>

#include "kernels/cuda/context.h"

namespace trine::probe {

// "row|WHAT|RESULT". What throws is a row too, and the next question is asked.
class Report {
 public:
  void row(const std::string& what, const std::function<std::string()>& result);
  bool failed() const { return failed_; }

 private:
  bool failed_ = false;
};

// Seconds of one call: `enqueue` is called until about 50 ms are spent, after one call that is not counted.
double seconds_of(cudaStream_t stream, const std::function<void()>& enqueue);

// Memory with numbers in [-1, 1): zeros cost less power than what a model multiplies.
cuda::DeviceBuffer random_bf16(int64_t elements);

// Each part: `context` is null where only the libraries are looked at (a dry run).
void probe_attention(Report& report, const cuda::ContextPtr& context);
void probe_products(Report& report, const cuda::ContextPtr& context);
void probe_copies(Report& report, const cuda::ContextPtr& context);
void probe_nccl(Report& report, const cuda::ContextPtr& context);

// "libcudnn.so.9 is /a/b/libcudnn.so.9": the library as the loader finds it. An Error where it does not.
std::string place_of(const std::string& library);

}  // namespace trine::probe
