// A library that is opened when the first kernel needs it. Linking cuBLASLt and cuDNN would add 140 ms to every
// start of every program, and would tie programs to machines that have them.
#pragma once

#include <string>

namespace trine::cuda {

class Library {
 public:
  // By its name as the loader finds it, else in the folder in which the build found CUDA. ConfigError if neither
  // has it. Stays open until the process ends, because such libraries do not survive being unloaded.
  explicit Library(std::string name);
  void* handle() const { return handle_; }
  // The function of this name, with the type of its declaration: library.function<decltype(&f)>("f").
  template <typename Function>
  Function function(const char* name) const {
    return reinterpret_cast<Function>(find(name));
  }

 private:
  void* find(const char* name) const;  // DeviceError if it is missing
  std::string name_;
  void* handle_ = nullptr;
};

}  // namespace trine::cuda
