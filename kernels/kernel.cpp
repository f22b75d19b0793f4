#include "kernels/kernel.h"

#include "base/error.h"

namespace trine {

std::vector<std::string> KernelTable::ops() const {
  std::vector<std::string> names;
  for (const auto& [name, factory] : factories_) names.push_back(name);
  return names;
}

Kernel KernelTable::make(const KernelRequest& request) const {
  const auto it = factories_.find(std::string(request.op.name()));
  TRINE_CHECK(it != factories_.end(), "no kernel for op {}", request.op.name());
  return it->second(request);
}

}  // namespace trine
