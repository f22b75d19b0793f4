#include "checkpoint/staging.h"

namespace trine {

Staging::Staging(std::filesystem::path file) : path_(std::move(file)), file_(File::create(path_)) {}

Staging::~Staging() {
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
}

void Staging::append(std::span<const std::byte> bytes) {
  file_->write(size_, bytes);
  size_ += static_cast<int64_t>(bytes.size());
}

const std::byte* Staging::map() {
  mapped_.emplace(path_);
  file_.reset();
  remove_file(path_);
  return mapped_->bytes().data();
}

}  // namespace trine
