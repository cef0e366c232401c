from . import (
    perceptron as perceptron,
    phases as phases,
    plots as plots,
    ranking as ranking,
    theory as theory,
)
from .arrays import ArrayInputs as ArrayInputs, OwnLabels as OwnLabels
from .augmentations import FlatNoise as FlatNoise, SignFlips as SignFlips
from .completion.factorization import (
    DeepFactorization as DeepFactorization,
    GradientFlow as GradientFlow,
)
from .completion.nuclear import ADMM as ADMM, NuclearNorm as NuclearNorm
from .completion.targets import LowRank as LowRank
from .completion.trial import Completion as Completion
from .corruptions import (
    MatchedGaussian as MatchedGaussian,
    RANDOMIZATION_TESTS as RANDOMIZATION_TESTS,
    ShuffledCoordinates as ShuffledCoordinates,
)
from .execution import CellFailed as CellFailed, run as run, Stopped as Stopped
from .inputs import Gaussian as Gaussian
from .measures.alignment import (
    NTKAlignment as NTKAlignment,
    TeacherAlignment as TeacherAlignment,
)
from .measures.asking import Measure as Measure
from .measures.bound_methods import (
    AnalyticPosterior as AnalyticPosterior,
    DiagonalPosterior as DiagonalPosterior,
    FisherPosterior as FisherPosterior,
    FisherPrior as FisherPrior,
)
from .measures.capacity import Margins as Margins, Norms as Norms, Sharpness as Sharpness
from .measures.certificates import PACBayes as PACBayes
from .measures.effective import EffectiveDimension as EffectiveDimension
from .measures.hessian_spectra import (
    HessianDensity as HessianDensity,
    HessianSpectrum as HessianSpectrum,
)
from .measures.information import (
    FisherSpectrum as FisherSpectrum,
    GaussNewtonSpectrum as GaussNewtonSpectrum,
    GradientNoise as GradientNoise,
    JacobianSpectrum as JacobianSpectrum,
)
from .measures.linearized import Linearization as Linearization, WideLimit as WideLimit
from .measures.spectral import (
    ActivationSpectra as ActivationSpectra,
    GradientSpectra as GradientSpectra,
    InputSpectrum as InputSpectrum,
)
from .measures.subspaces import (
    StiffTravel as StiffTravel,
    SubspaceOverlap as SubspaceOverlap,
)
from .measures.theorems import TraceTheorems as TraceTheorems
from .measures.trajectories import Trajectory as Trajectory
from .opening import open_store as open_store
from .plan import plan as plan
from .samples import draw_samples as draw_samples, Samples as Samples
from .slopes import (
    fit_eigenvalues as fit_eigenvalues,
    fit_slope as fit_slope,
    SlopeFit as SlopeFit,
)
from .spectra import (
    Isotropic as Isotropic,
    Measured as Measured,
    PowerLaw as PowerLaw,
    Sloppy as Sloppy,
    SloppyAsCleaned2024 as SloppyAsCleaned2024,
    SloppyAsReleased2022 as SloppyAsReleased2022,
    Spiked as Spiked,
)
from .standing import status as status
from .students.initializations import (
    Glorot2010 as Glorot2010,
    He2015 as He2015,
    Jacot2018 as Jacot2018,
    LeCun1998 as LeCun1998,
    TorchDefault as TorchDefault,
)
from .students.kernel import (
    Kernel as Kernel,
    Laplace as Laplace,
    NNGP as NNGP,
    NTK as NTK,
    RBF as RBF,
)
from .students.linear import Linear as Linear
from .students.memorizer import memorize as memorize, Memorizer as Memorizer
from .students.mlp import MLP as MLP
from .students.random_features import RandomFeatures as RandomFeatures
from .sweep import Sweep as Sweep
from .teachers import LinearTeacher as LinearTeacher, Teacher as Teacher
from .training.adam import Adam as Adam
from .training.descent import descend as descend
from .training.entropy_sgd import EntropySGD as EntropySGD
from .training.langevin import Langevin as Langevin
from .training.parle import Parle as Parle
from .training.ridge import Ridge as Ridge
from .training.sam import SAM as SAM
from .training.schedules import (
    Constant as Constant,
    Cosine as Cosine,
    log_steps as log_steps,
    StepDecay as StepDecay,
)
from .training.sgd import SGD as SGD
from .training.stopping import (
    BestValidation as BestValidation,
    TrainLossBelow as TrainLossBelow,
    ZeroTrainError as ZeroTrainError,
)
from .trial import train as train, Trial as Trial
