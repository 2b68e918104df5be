// COCO's evaluation of detections: overlaps, matching, precision and recall. Torch-free.
#pragma once

#include "coco_eval/accumulate.h"  // IWYU pragma: export
#include "coco_eval/match.h"       // IWYU pragma: export
#include "coco_eval/polygon.h"     // IWYU pragma: export
