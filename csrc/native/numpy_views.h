// C++ vectors as NumPy arrays without a copy.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <type_traits>
#include <vector>

namespace pyvqa {

// The vector's memory as an array [n] or, with `columns`, [n / columns, columns]. `owner` is the
// Python object that holds the vector; the array keeps it alive.
template <class T>
auto numpy_view(const pybind11::object& owner, std::vector<T>& values,
                pybind11::ssize_t columns = 0) {
  using Plain = std::conditional_t<std::is_enum_v<T>, uint8_t, T>;
  static_assert(sizeof(Plain) == sizeof(T));
  const auto size = static_cast<pybind11::ssize_t>(values.size());
  std::vector<pybind11::ssize_t> shape{size};
  if (columns > 0) shape = {size / columns, columns};
  return pybind11::array_t<Plain>(shape, reinterpret_cast<Plain*>(values.data()), owner);
}

}  // namespace pyvqa
