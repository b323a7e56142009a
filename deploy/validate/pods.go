package main

import (
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// check holds pods to what this project promises of them: nobody is root without being an agent of the host, nothing gains
// privileges, nothing runs without bounds, and every volume that is mounted exists.
func check(object runtime.Object) error {
	var pod *corev1.PodTemplateSpec
	var selector map[string]string
	switch one := object.(type) {
	case *appsv1.Deployment:
		pod, selector = &one.Spec.Template, one.Spec.Selector.MatchLabels
	case *appsv1.DaemonSet:
		pod, selector = &one.Spec.Template, one.Spec.Selector.MatchLabels
	default:
		return nil
	}
	for name, value := range selector {
		if pod.Labels[name] != value {
			return fmt.Errorf("the selector wants %s=%s, which its pods do not have", name, value)
		}
	}
	if pod.Spec.AutomountServiceAccountToken == nil || *pod.Spec.AutomountServiceAccountToken {
		return errors.New("a service account token is mounted that nobody asked for")
	}
	volumes := map[string]bool{}
	for _, volume := range pod.Spec.Volumes {
		volumes[volume.Name] = true
	}
	for _, container := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
		if err := checkContainer(&container, volumes); err != nil {
			return fmt.Errorf("container %s: %w", container.Name, err)
		}
	}
	return nil
}

func checkContainer(container *corev1.Container, volumes map[string]bool) error {
	for _, mount := range container.VolumeMounts {
		if !volumes[mount.Name] {
			return fmt.Errorf("there is no volume %s", mount.Name)
		}
	}
	security := container.SecurityContext
	if security == nil || security.AllowPrivilegeEscalation == nil || *security.AllowPrivilegeEscalation {
		return errors.New("may gain privileges")
	}
	if security.ReadOnlyRootFilesystem == nil || !*security.ReadOnlyRootFilesystem {
		return errors.New("may write to its image")
	}
	if security.Capabilities == nil || len(security.Capabilities.Drop) != 1 || security.Capabilities.Drop[0] != "ALL" {
		return errors.New("keeps capabilities")
	}
	if container.Resources.Limits.Memory().IsZero() {
		return errors.New("has no bound on memory")
	}
	return nil
}
