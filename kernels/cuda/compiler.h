// CUDA's run-time compiler, NVRTC, as cuDNN uses it. It looks for its builtins only where the loader looks, so both
// are opened from where CUDA is before anybody needs them.
#pragma once

#include <cuda_runtime_api.h>
#include <fmt/core.h>
#include <string>

#include "base/error.h"
#include "kernels/cuda/library.h"

namespace trine::cuda {

class Compiler {
 public:
  Compiler() : nvrtc_(fmt::format("libnvrtc.so.{}", CUDART_VERSION / 1000)), builtins_(builtins_of(nvrtc_)) {}

  // Bytes of machine code that a source is compiled to, for "sm_90"; needs no GPU. ConfigError with the compiler's
  // words: it comes as far as this only with its builtins.
  size_t compile(const std::string& source, const std::string& architecture) const {
    void* program = nullptr;
    call<int(void**, const char*, const char*, int, const char* const*, const char* const*)>(
        "nvrtcCreateProgram", &program, source.c_str(), "kernel.cu", 0, nullptr, nullptr);
    const std::string option = "--gpu-architecture=" + architecture;
    const char* const options[] = {option.c_str()};
    call<int(void*, int, const char* const*)>("nvrtcCompileProgram", program, 1, options);
    size_t bytes = 0;
    call<int(void*, size_t*)>("nvrtcGetCUBINSize", program, &bytes);
    call<int(void**)>("nvrtcDestroyProgram", &program);
    return bytes;
  }

 private:
  static std::string builtins_of(const Library& nvrtc) {
    int major = 0, minor = 0;
    nvrtc.function<int (*)(int*, int*)>("nvrtcVersion")(&major, &minor);
    return fmt::format("libnvrtc-builtins.so.{}.{}", major, minor);
  }
  template <typename Function, typename... Arguments>
  void call(const char* name, Arguments... arguments) const {
    const int status = nvrtc_.function<Function*>(name)(arguments...);
    if (status == 0) return;
    using ErrorString = const char* (*)(int);
    const char* const words = nvrtc_.function<ErrorString>("nvrtcGetErrorString")(status);
    throw ConfigError(fmt::format("[nvrtc] {} from {}", words, name));
  }

  Library nvrtc_, builtins_;
};

}  // namespace trine::cuda
