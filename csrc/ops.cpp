// The table of contents: every op and its schema. Kernels register in csrc/<op>/.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/tensor.h>

#include "common/isa.h"

namespace pyvqa {
namespace {

std::string isa() { return isa_name(); }

}  // namespace
}  // namespace pyvqa

STABLE_TORCH_LIBRARY(pyvqa, m) {
  m.def("isa() -> str");  // instruction set of the CPU kernels

  // Run B programs [B, L] (ids into table [V]) on packed scenes; width = 64-bit words per object
  // set.
  // -> kind uint8 [B], value int32 [B], answer id int32 [B], sets int64 [B or 0, 2, width]
  m.def(
      "execute(Tensor programs, Tensor table, Tensor scene_index, Tensor words, Tensor offsets, "
      "int width, Tensor string_answers, Tensor integer_answers, bool with_sets) "
      "-> (Tensor, Tensor, Tensor, Tensor)");
  // The accumulator after every instruction:
  // -> kind uint8 [B], value int32 [B], trace kind uint8 [B, L] (255 = not reached),
  //    trace value int32 [B, L], trace sets int64 [B, L, 2, width]
  m.def(
      "execute_trace(Tensor programs, Tensor table, Tensor scene_index, Tensor words, Tensor "
      "offsets, "
      "int width) -> (Tensor, Tensor, Tensor, Tensor, Tensor)");
  // Static check of prefix programs: int8 [B], 0 = well formed and typed, else the reason.
  m.def("verify(Tensor programs, Tensor table) -> Tensor");

  // ---- nms
  // ---- boxes
  // ---- roi_align
  // ---- masks
  // ---- paste
  // ---- render
  // Objects [O, 5] (x, y, z, radius, rotation), kinds [O, 2], offsets [B + 1], cameras [B, 3]:
  // the number of the object at each pixel's centre, int16 [B, height, width], -1 = none.
  m.def(
      "render_ids(Tensor geometry, Tensor kinds, Tensor offsets, Tensor cameras, int height, int "
      "width) -> Tensor");
  // Also colors [O, 3], lamps [B, 9] and seeds [B]: picture uint8 [B, height, width, 3], ids as
  // above, depth float32 [B, height, width] and normals float32 [B, height, width, 3].
  m.def(
      "render(Tensor geometry, Tensor kinds, Tensor colors, Tensor offsets, Tensor cameras, Tensor "
      "lamps, Tensor seeds, int height, int width, int samples, float grain) "
      "-> (Tensor, Tensor, Tensor, Tensor)");
  // The box of each whole object, int64 [O, 4] x, y, width, height.
  m.def(
      "render_boxes(Tensor geometry, Tensor kinds, Tensor offsets, Tensor cameras, int height, int "
      "width) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(pyvqa, CompositeExplicitAutograd, m) {
  m.impl("isa", TORCH_BOX(&pyvqa::isa));
}
