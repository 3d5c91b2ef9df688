from .denoising import denoise as denoise
from .model import Noise2Atom as Noise2Atom
from .model import get_model as get_model
from .similarity import css as css
from .simulator import acquire as acquire
from .simulator import atoms_of as atoms_of
from .simulator import simulate as simulate
from .simulator import simulate_like as simulate_like
