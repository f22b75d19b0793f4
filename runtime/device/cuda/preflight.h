#pragma once

#include <string>

#include "runtime/device/devices.h"

namespace trine::cuda {

// A device's UUID as text.
std::string identity_of(const char (&uuid)[16]);

}  // namespace trine::cuda
