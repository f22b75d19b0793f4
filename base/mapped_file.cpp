#include "base/mapped_file.h"

#include <sys/mman.h>

#include "base/input_file.h"

namespace trine {

MappedFile::MappedFile(const std::filesystem::path& path, OnLoss on_loss) {
  const InputFile file(path);
  const auto size = static_cast<size_t>(file.size());
  if (size == 0) return;
  for (const int kind : {MAP_SHARED, MAP_PRIVATE}) {  // some file systems can do only the second, some none
    void* const data = ::mmap(nullptr, size, PROT_READ, kind, file.descriptor(), 0);
    if (data == MAP_FAILED) continue;
    bytes_ = {static_cast<const std::byte*>(data), size};
    watch_.emplace(bytes_, path, on_loss);
    return;
  }
  copy_.resize(size);
  file.read(0, copy_);
  bytes_ = copy_;
}

MappedFile::~MappedFile() {
  if (!watch_) return;
  watch_.reset();
  ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

}  // namespace trine
