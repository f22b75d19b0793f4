#include "kernels/cuda/library.h"

#include <dlfcn.h>
#include <utility>

#include "kernels/cuda/context.h"

namespace trine::cuda {

Library::Library(std::string name) : name_(std::move(name)) {
  handle_ = ::dlopen(name_.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (handle_ == nullptr) handle_ = ::dlopen((TRINE_CUDA_LIBRARIES "/" + name_).c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (handle_ == nullptr)
    throw ConfigError(fmt::format(
        "[cuda] {} cannot be opened ({}). Install it, or name its folder in LD_LIBRARY_PATH.", name_, ::dlerror()));
}

void* Library::find(const char* name) const {
  void* const function = ::dlsym(handle_, name);
  if (function == nullptr) throw DeviceError(fmt::format("[cuda] {} has no {}", name_, name));
  return function;
}

}  // namespace trine::cuda
