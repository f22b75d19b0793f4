#include "ops/fusions.h"

#include "ops/rms_norm.h"

namespace trine {

std::vector<Fusion> fusions() {
  return {
      {.first = "add",
       .second = "rms_norm",
       .make =
           [](const Op&, const Op& norm) {
             return std::make_shared<const AddRmsNorm>(dynamic_cast<const RmsNorm&>(norm));
           }},
      {.first = "rms_norm_grad",
       .second = "add",
       .keeps_link = false,
       .make = [](const Op&, const Op&) { return std::make_shared<const RmsNormGradAdd>(); }},
  };
}

}  // namespace trine
