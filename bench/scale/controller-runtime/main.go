// The check of a target that is in sync, as a controller on controller-runtime does it: for bench/scale.ts to compare with.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
)

// What it needs of a MigrationTarget.
type MigrationTarget struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              Spec   `json:"spec"`
	Status            Status `json:"status,omitempty"`
}

type Spec struct {
	Revision string          `json:"revision"`
	Interval metav1.Duration `json:"interval"`
	Database struct {
		URLFrom struct {
			SecretKeyRef corev1.SecretKeySelector `json:"secretKeyRef"`
		} `json:"urlFrom"`
		VersionTable       string `json:"versionTable"`
		VersionTableSchema string `json:"versionTableSchema"`
	} `json:"database"`
}

type Status struct {
	ObservedGeneration int64              `json:"observedGeneration,omitempty"`
	CurrentRevision    string             `json:"currentRevision,omitempty"`
	Conditions         []metav1.Condition `json:"conditions,omitempty"`
}

func (t *MigrationTarget) DeepCopyObject() runtime.Object {
	copied := *t
	copied.ObjectMeta = *t.ObjectMeta.DeepCopy()
	copied.Status.Conditions = append([]metav1.Condition(nil), t.Status.Conditions...)
	return &copied
}

type MigrationTargetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []MigrationTarget `json:"items"`
}

func (l *MigrationTargetList) DeepCopyObject() runtime.Object {
	copied := *l
	copied.Items = make([]MigrationTarget, len(l.Items))
	for i := range l.Items {
		copied.Items[i] = *l.Items[i].DeepCopyObject().(*MigrationTarget)
	}
	return &copied
}

type checker struct {
	client.Client
	recorder events.EventRecorder
}

func (c *checker) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var target MigrationTarget
	if err := c.Get(ctx, request.NamespacedName, &target); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	database, revisions, err := c.read(ctx, &target)
	if err != nil {
		return ctrl.Result{}, err
	}
	current := strings.Join(revisions, ",")
	ready := metav1.Condition{
		Type: "Ready", Status: metav1.ConditionTrue, Reason: "InSync", ObservedGeneration: target.Generation,
		Message: fmt.Sprintf("Database %s is at %s, as declared.", database, current),
	}
	if current != target.Spec.Revision {
		ready.Status, ready.Reason = metav1.ConditionFalse, "ChangedOutside"
		ready.Message = fmt.Sprintf("Database %s is at %s, and %s is declared.", database, current, target.Spec.Revision)
	}
	before := target.DeepCopyObject().(*MigrationTarget)
	isNews := meta.SetStatusCondition(&target.Status.Conditions, ready)
	target.Status.ObservedGeneration, target.Status.CurrentRevision = target.Generation, current
	if isNews || target.Status.ObservedGeneration != before.Status.ObservedGeneration || target.Status.CurrentRevision != before.Status.CurrentRevision {
		c.recorder.Eventf(&target, nil, corev1.EventTypeNormal, ready.Reason, "Check", ready.Message)
		if err := c.Status().Patch(ctx, &target, client.MergeFrom(before)); err != nil {
			return ctrl.Result{}, err
		}
	}
	return ctrl.Result{RequeueAfter: target.Spec.Interval.Duration}, nil
}

func (c *checker) read(ctx context.Context, target *MigrationTarget) (string, []string, error) {
	from := target.Spec.Database
	var secret corev1.Secret
	if err := c.Get(ctx, client.ObjectKey{Namespace: target.Namespace, Name: from.URLFrom.SecretKeyRef.Name}, &secret); err != nil {
		return "", nil, err
	}
	connection, err := pgx.Connect(ctx, string(secret.Data[from.URLFrom.SecretKeyRef.Key]))
	if err != nil {
		return "", nil, err
	}
	defer connection.Close(ctx)
	table := pgx.Identifier{from.VersionTableSchema, from.VersionTable}.Sanitize()
	rows, err := connection.Query(ctx, "SELECT version_num FROM "+table+" ORDER BY 1")
	if err != nil {
		return "", nil, err
	}
	revisions, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return connection.Config().Database, revisions, err
}

func main() {
	namespace := flag.String("namespace", "default", "")
	metrics := flag.String("metrics", "127.0.0.1:0", "")
	health := flag.String("health", "127.0.0.1:0", "")
	workers := flag.Int("workers", 4, "")
	flag.Parse()
	if err := run(*namespace, *metrics, *health, *workers); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(namespace, metrics, health string, workers int) error {
	ctrl.SetLogger(zap.New())
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return err
	}
	version := schema.GroupVersion{Group: "migrationtarget.dev", Version: "v1alpha1"}
	scheme.AddKnownTypes(version, &MigrationTarget{}, &MigrationTargetList{})
	metav1.AddToGroupVersion(scheme, version)
	config, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	config.UserAgent = "bench-controller-runtime"
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                 scheme,
		Cache:                  cache.Options{DefaultNamespaces: map[string]cache.Config{namespace: {}}},
		Client:                 client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}}}},
		Metrics:                server.Options{BindAddress: metrics},
		HealthProbeBindAddress: health,
	})
	if err != nil {
		return err
	}
	if err := manager.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	err = ctrl.NewControllerManagedBy(manager).
		Named("migrationtarget").
		For(&MigrationTarget{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers}).
		Complete(&checker{manager.GetClient(), manager.GetEventRecorder("bench")})
	if err != nil {
		return err
	}
	return manager.Start(ctrl.SetupSignalHandler())
}
